"""A worker's end of its script hosts: it feeds them and watches them, and trusts none of them."""
