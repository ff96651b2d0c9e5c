"""Cells of recurrent layers that feed no published figure."""
