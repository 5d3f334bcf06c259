"""Roads: other ways in which users of torch call a recurrent net, each a path by name.

Page: docs/roads/roads.md
"""
