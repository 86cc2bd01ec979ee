"""A worker's end of its script hosts: it feeds them, watches them and believes none of them."""
