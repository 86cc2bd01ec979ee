"""Looks at what authors write before it runs, in a sandboxed process, within bounds."""
