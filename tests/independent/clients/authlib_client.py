"""Signs in with Authlib, as a Flask app does. Arguments: issuer, client id, client secret, redirect URI."""

import json
import secrets
import sys
from urllib.parse import urlsplit

from authlib.integrations.base_client import OAuthError
from authlib.integrations.flask_client import OAuth
from authlib.integrations.requests_client import OAuth2Session
from flask import Flask, redirect, session

issuer, client_id, client_secret, redirect_uri = sys.argv[1:]
signed_out_uri = "{0.scheme}://{0.netloc}/signed-out".format(urlsplit(redirect_uri))

app = Flask(__name__)
app.secret_key = secrets.token_bytes(32)

oauth = OAuth(app)
latchkey = oauth.register(
    "latchkey",
    client_id=client_id,
    client_secret=client_secret,
    server_metadata_url=f"{issuer}/.well-known/openid-configuration",
    client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256"},
)


@app.route("/login")
def login():
    return latchkey.authorize_redirect(redirect_uri)


@app.route("/callback")
def callback():
    token = latchkey.authorize_access_token()
    session["claims"] = dict(token["userinfo"])
    kept.update(token)
    return redirect("/")


@app.route("/logout")
def logout():
    session.clear()
    return latchkey.logout_redirect(
        post_logout_redirect_uri=signed_out_uri, id_token_hint=kept["id_token"]
    )


def refresh():
    kept.update(
        latchkey.fetch_access_token(
            grant_type="refresh_token", refresh_token=kept["refresh_token"]
        )
    )


# A real app keeps them with the person's session, on the server.
kept = {}


def report(**members):
    print(json.dumps(members), flush=True)


browser = app.test_client()
answer = browser.get("/login")
report(authorization_url=answer.headers["Location"])
back = urlsplit(sys.stdin.readline().strip())

answer = browser.get(f"/callback?{back.query}")
assert answer.status_code == 302, answer.get_data(as_text=True)
with browser.session_transaction() as signed_in:
    report(step="signed in", tokens=kept, claims=signed_in["claims"])

with app.app_context():
    report(step="userinfo", claims=latchkey.userinfo(token=kept))
    refresh()
    report(step="refreshed", tokens=kept)
    report(step="userinfo", claims=latchkey.userinfo(token=kept))
    metadata = latchkey.load_server_metadata()

answer = browser.get("/logout")
logout_url = answer.headers["Location"]

with OAuth2Session(client_id, client_secret) as direct:
    revoked = direct.revoke_token(
        metadata["revocation_endpoint"],
        token=kept["refresh_token"],
        token_type_hint="refresh_token",
    )
    assert revoked.status_code == 200, revoked.text
with app.app_context():
    try:
        refresh()
    except OAuthError as error:
        report(step="revoked", error=error.error)
    else:
        sys.exit("a revoked refresh token was taken")
report(logout_url=logout_url)
