"""One lane's training: its network, its epoch, its statistics."""
