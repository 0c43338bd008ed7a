"""The browser application: reads the model database, posts exports, never trains.

Started by ``automl ui``. The database is the one that AUTOML_DB names, else ./automl.db.
"""

import streamlit as st

from automl.ui.views import places

st.set_page_config(page_title="automl", page_icon=":material/hub:", layout="wide")
places.run()
