// An application on openid-client. The test tells it what to do, one JSON object a line; it answers each with one. What the
// library refuses is answered as {"refused": …}, so that the test can demand refusals too.
import * as oidc from 'openid-client'
import { createInterface } from 'node:readline'

let app // the registration
let config // openid-client's configuration
let pending // of the sign-in in progress: state, nonce, verifier, maxAge
let tokens // the last answer of the token endpoint

function configure(discovered) {
  oidc.enableNonRepudiationChecks(discovered) // check signatures although TLS would do: that is what we are here for
  return discovered
}

function clientAuth() {
  switch (app.auth) {
    case 'none': return oidc.None()
    case 'client_secret_basic': return oidc.ClientSecretBasic(app.secret)
    case 'client_secret_post': return oidc.ClientSecretPost(app.secret)
  }
  throw new Error(`no client authentication is called ${app.auth}`)
}

const metadata = () => ({ id_token_signed_response_alg: app.algorithm })

function told(answer) {
  const [header] = answer.id_token.split('.')
  const { alg, kid } = JSON.parse(Buffer.from(header, 'base64url'))
  return { alg, kid, claims: answer.claims(), refreshToken: answer.refresh_token ?? '', scope: answer.scope }
}

const commands = {
  async open(c) {
    app = c
    config = configure(await oidc.discovery(new URL(app.issuer), app.id, metadata(), clientAuth()))
    return {}
  },
  async begin({ do: _, ...more }) {
    pending = {
      maxAge: more.max_age && Number(more.max_age),
      state: oidc.randomState(), nonce: oidc.randomNonce(), verifier: oidc.randomPKCECodeVerifier(),
    }
    const url = oidc.buildAuthorizationUrl(config, {
      redirect_uri: app.redirect, scope: app.scope, state: pending.state, nonce: pending.nonce,
      code_challenge: await oidc.calculatePKCECodeChallenge(pending.verifier), code_challenge_method: 'S256',
      ...more,
    })
    return { url: url.href }
  },
  async finish({ url }) {
    tokens = await oidc.authorizationCodeGrant(config, new URL(url), {
      expectedState: pending.state, expectedNonce: pending.nonce, pkceCodeVerifier: pending.verifier, idTokenExpected: true,
      maxAge: pending.maxAge,
    })
    return told(tokens)
  },
  async userinfo() {
    return { claims: await oidc.fetchUserInfo(config, tokens.access_token, tokens.claims().sub) }
  },
  async refresh() {
    tokens = await oidc.refreshTokenGrant(config, tokens.refresh_token)
    return told(tokens)
  },
  async revoke() {
    await oidc.tokenRevocation(config, tokens.refresh_token)
    return {}
  },
  // age makes the kept key set look old enough for the library to fetch it again when it meets an unknown key: it does so once
  // a minute at most.
  async age() {
    const { jwks, uat } = oidc.getJwksCache(config)
    const aged = configure(new oidc.Configuration(config.serverMetadata(), app.id, metadata(), clientAuth()))
    oidc.setJwksCache(aged, { jwks, uat: uat - 61 })
    config = aged
    return {}
  },
  async logout() {
    return { url: oidc.buildEndSessionUrl(config, { id_token_hint: tokens.id_token, post_logout_redirect_uri: app.postLogout, state: 'bye' }).href }
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  let answer
  try {
    answer = await commands[command.do](command)
  } catch (err) {
    console.error(err)
    answer = { refused: [err.code, err.error, err.message, err.cause?.message].filter(Boolean).join(': ') }
  }
  console.log(JSON.stringify(answer))
}
