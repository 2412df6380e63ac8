"""Data sets, in rooms: what each one is (sets), preparing it, FFCV's file format (beton), and batches of it (loading).

The files of this folder itself are what the rooms share.
"""
