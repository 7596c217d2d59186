"""From what a person asks for to a recipe of numbers with reasons. Pure: no torch, no Django."""
