"""Data sets, in rooms: what each one is (sets), preparing it (preparing), FFCV's file format (beton), batches (loading).

The files of this folder itself are what the rooms share.
"""
