"""Files of calls. Every row is checked before the first call is sent; the calls then go into a journal.

``sources`` opens a file and ``*_format`` reads its rows; ``row_parser`` turns a row into an action; ``load`` reports
bad rows and writes the actions of the good ones into a journal, or nothing at all.
"""
