// panva's oidc-provider as a company might run it: accounts with passwords, a
// login form, a button that says no, and groups. The form takes the place of a real
// login page; everything of OpenID Connect is the library's own.
//
// The settings come as JSON in $SETTINGS:
//   library    the URL of oidc-provider's entry point
//   port       where to listen on loopback; the issuer is http://localhost:PORT
//   clients    as oidc-provider registers them
//   jwks       the signing keys, private
//   accounts   by login: {password, claims}
//   thin       claims at userinfo only, as is the library's default
//   noChooser  refuses prompt=select_account, as is the library's default
//   methods    the ways for clients to authenticate; default: the library's
import { createServer } from 'node:http';

const settings = JSON.parse(process.env.SETTINGS);
const { Provider, interactionPolicy } = await import(settings.library);

const policy = interactionPolicy.base();
if (!settings.noChooser) {
  policy.add(new interactionPolicy.Prompt({ name: 'select_account', requestable: true }), 0);
}

const provider = new Provider(`http://localhost:${settings.port}`, {
  clients: settings.clients,
  jwks: settings.jwks,
  cookies: { keys: ['a key for tests'] },
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name'], groups: ['groups'] },
  scopes: ['openid', 'email', 'profile', 'groups'],
  conformIdTokenClaims: Boolean(settings.thin),
  ...(settings.methods ? { clientAuthMethods: settings.methods } : {}),
  features: { devInteractions: { enabled: false } },
  interactions: { policy, url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  async findAccount(ctx, login) {
    const account = settings.accounts[login];
    return account && { accountId: login, claims: () => ({ sub: login, ...account.claims }) };
  },
  // Nobody is asked for consent to what their own company runs.
  async loadExistingGrant(ctx) {
    const grant = new provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
    grant.addOIDCScope('openid email profile groups');
    await grant.save();
    return grant;
  },
});
provider.on('server_error', (ctx, error) => console.error(error));

const page = (text) => `<!doctype html><meta charset="utf-8"><title>Company login</title>
<h1>Company login</h1><p>${text}</p>
<form method="post"><input name="login" autocomplete="off"><input name="password" type="password">
<button name="do" value="login">Sign in</button><button name="do" value="abort">No</button></form>`;

async function interaction(req, res) {
  const { prompt } = await provider.interactionDetails(req, res);
  if (req.method !== 'POST') {
    return res.writeHead(200, { 'content-type': 'text/html' }).end(page(`Prompt: ${prompt.name}.`));
  }
  let body = '';
  for await (const chunk of req) body += chunk;
  const form = new URLSearchParams(body);
  if (form.get('do') === 'abort') {
    const no = { error: 'access_denied', error_description: '<b>The user said no</b>' };
    return provider.interactionFinished(req, res, no, { mergeWithLastSubmission: false });
  }
  const account = settings.accounts[form.get('login')];
  if (!account || account.password !== form.get('password')) {
    return res.writeHead(401, { 'content-type': 'text/html' }).end(page('Wrong login or password.'));
  }
  const result = { login: { accountId: form.get('login') }, select_account: {} };
  return provider.interactionFinished(req, res, result, { mergeWithLastSubmission: false });
}

const rest = provider.callback();
createServer((req, res) => {
  if (!req.url.startsWith('/interaction/')) return rest(req, res);
  return interaction(req, res).catch((error) => {
    console.error(error);
    res.writeHead(500).end('interaction failed');
  });
}).listen(settings.port, 'localhost');
