"""What declarations of several models say of their layers."""
