"""The HTML page: reports with their charts and tables, and calls as waterfalls, in one file that holds all it needs.

`charts` makes Vega-Lite specifications of a report's figures, `waterfall` of a call's times, and `document` puts them
on the page.
"""
