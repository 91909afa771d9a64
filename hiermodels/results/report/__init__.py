"""A fit as one page of HTML."""
