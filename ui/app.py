"""The browser application: reads the model database, posts exports, never trains.

Started by ``automl ui``. The database is the one that AUTOML_DB names, else ./automl.db.
"""

import streamlit as st

from automl.ui.views import places

# Drawn here: an icon by name would be fetched from the internet.
ICON = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
<rect width="32" height="32" rx="7" fill="#0067A3"/>
<path d="M7 23 L13 14 L19 18 L25 8" fill="none" stroke="#fff" stroke-width="2.5"/>
<circle cx="25" cy="8" r="3" fill="#E69F00"/></svg>"""

st.set_page_config(page_title="automl", page_icon=ICON, layout="wide")
places.run()
