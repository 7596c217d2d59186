"""From a stranger's file to rows that can be trained on, and findings for each that cannot. Pure: no Django."""
