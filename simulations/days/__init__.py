"""The annotation loop over time: readers label by day, the federation trains by night, and effort is counted."""
