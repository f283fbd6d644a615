"""What a study's hospitals hold, said and drawn before anything is trained."""
