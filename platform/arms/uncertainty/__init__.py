"""How sure is an identification? Several answers, all from the same readings of held-out draws."""
