"""A fleet of devices: does each compute rightly today, and do equal devices compute equal bits?"""
