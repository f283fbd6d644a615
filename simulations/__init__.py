"""Many nodes and a coordinator in one process: studies, phantoms, scripted readers, reports."""
