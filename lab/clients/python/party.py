"""An application on Authlib, without a web framework. The test tells it what to do, one JSON object a line; it answers each with
one. What the library refuses is answered as {"refused": ...}, so that the test can demand refusals too."""

import base64
import json
import sys
import traceback
from urllib.parse import parse_qsl, urlencode, urlsplit

from authlib.integrations.base_client import BaseApp, OAuth2Mixin, OAuthError, OpenIDMixin
from authlib.integrations.requests_client import OAuth2Session


class Client(OAuth2Mixin, OpenIDMixin, BaseApp):
    client_cls = OAuth2Session


class NoFramework:
    """Stands in for the web framework's integration, which would keep refreshed tokens in a session."""

    def update_token(self, token, refresh_token=None, access_token=None):
        pass


class Party:
    def open(self, c):
        self.app = c
        self.client = Client(
            NoFramework(), client_id=c["id"], client_secret=c["secret"] or None,
            server_metadata_url=c["issuer"] + "/.well-known/openid-configuration",
            client_kwargs={"scope": c["scope"], "code_challenge_method": "S256", "token_endpoint_auth_method": c["auth"],
                           "default_timeout": 60})
        # A client holds its provider to the algorithm that it registered, whatever else the provider can do.
        self.client.load_server_metadata()["id_token_signing_alg_values_supported"] = [c["algorithm"]]
        return {}

    def begin(self, c):
        more = {name: value for name, value in c.items() if name != "do"}
        self.pending = self.client.create_authorization_url(self.app["redirect"], **more)
        return {"url": self.pending["url"]}

    def finish(self, c):
        answer = dict(parse_qsl(urlsplit(c["url"]).query))
        if "error" in answer:  # as Authlib's own integrations of web frameworks do
            raise OAuthError(answer["error"], answer.get("error_description"))
        self.tokens = self.client.fetch_access_token(
            self.app["redirect"], authorization_response=c["url"], state=self.pending["state"],
            code_verifier=self.pending["code_verifier"])
        return self.told(self.pending["nonce"])

    def refresh(self, _):
        metadata = self.client.load_server_metadata()
        with self.client._get_oauth_client(**metadata) as session:
            session.token = self.tokens
            self.tokens = session.refresh_token(metadata["token_endpoint"], self.tokens["refresh_token"])
        return self.told(None)  # OpenID Connect Core 12.2: no nonce after a refresh

    def told(self, nonce):
        claims = self.client.parse_id_token(self.tokens, nonce)
        header = self.tokens["id_token"].split(".")[0]
        header = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
        return {"alg": header["alg"], "kid": header["kid"], "claims": claims, "scope": self.tokens["scope"],
                "refreshToken": self.tokens.get("refresh_token", "")}

    def userinfo(self, _):
        return {"claims": self.client.userinfo(token=self.tokens)}

    def revoke(self, _):
        metadata = self.client.load_server_metadata()
        with self.client._get_oauth_client(**metadata) as session:
            session.revoke_token(metadata["revocation_endpoint"], self.tokens["refresh_token"], "refresh_token").raise_for_status()
        return {}

    def age(self, _):
        return {}  # it fetches the key set again whenever it meets an unknown key

    def logout(self, _):
        query = {"id_token_hint": self.tokens["id_token"], "post_logout_redirect_uri": self.app["postLogout"], "state": "bye"}
        return {"url": self.client.load_server_metadata()["end_session_endpoint"] + "?" + urlencode(query)}


party = Party()
for line in sys.stdin:
    command = json.loads(line)
    try:
        answer = getattr(party, command["do"])(command)
    except Exception as err:  # whatever the library raises is its refusal
        traceback.print_exc()
        answer = {"refused": f"{type(err).__name__}: {err}"}
    print(json.dumps(answer), flush=True)
