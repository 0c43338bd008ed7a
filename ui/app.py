"""The browser application: reads the model database, posts exports, never trains.

Started by ``automl ui``. The database is the one that AUTOML_DB names, else ./automl.db.
"""

import streamlit as st

from automl.ui.views import claims, home, model, ranking, study

st.set_page_config(page_title="automl", page_icon=":material/hub:", layout="wide")
st.navigation(
    [
        st.Page(home.show, title="Studies", icon=":material/list:", url_path="home", default=True),
        st.Page(study.show, title="Study", icon=":material/show_chart:", url_path="study"),
        st.Page(model.show, title="Model", icon=":material/deployed_code:", url_path="model"),
        st.Page(
            ranking.show, title="Leaderboards", icon=":material/leaderboard:", url_path="ranking"
        ),
        st.Page(claims.show, title="Claims", icon=":material/fact_check:", url_path="claims"),
    ]
).run()
