"""Phantoms: synthetic radiographs as real DICOM files, with planted findings whose masks are known.

No pixel and no header comes from a person. Four rooms: `anatomy` (what a chest attenuates), `findings` (what is
planted in it), `vendor` (how a device renders it) and `dicom` (the file); `hospital` walks through them.
"""
