"""One recurrent layer a file, and what weights start from."""
