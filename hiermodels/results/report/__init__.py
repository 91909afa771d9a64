"""A fit as one page of HTML that needs nothing but itself.

- ``write``: the page, atomically
- ``sections``: what stands on it
- ``out_of_sample``: its section on predictions and units that are left out
- ``parts``: tables and pictures of a section, or why there is none
- ``subject``: the fit that it is about
- ``recipe``: how to make the same fit again
- ``html``: elements of a page
"""
