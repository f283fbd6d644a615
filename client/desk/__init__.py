"""The reader's desk: pages served inside the hospital, on which a radiologist accepts, corrects and states findings."""
