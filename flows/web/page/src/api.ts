// Requests to the server. Every failure becomes an error that says what happened, for people.

export class Refused extends Error {
  constructor(message: string, readonly status: number) {
    super(message);
  }
}

const TOKEN = "segwatch.token";
const PERSON = "segwatch.person";

/** Name and token of the person; they stay in this tab. */
export const identity = {
  read: () => ({ person: sessionStorage.getItem(PERSON) ?? "", token: sessionStorage.getItem(TOKEN) ?? "" }),
  keep(person: string, token: string) {
    sessionStorage.setItem(PERSON, person);
    sessionStorage.setItem(TOKEN, token.trim());
  },
};

export function address(path: string, query: Record<string, string | string[]> = {}): string {
  const pairs = Object.entries(query).flatMap(([name, value]) => [value].flat().map((one) => [name, one]));
  return pairs.length ? `${path}?${new URLSearchParams(pairs)}` : path;
}

/** Get JSON, with the token of this tab, which also shows who reviewed; go to the login where that is needed. */
export async function get<T>(path: string, query: Record<string, string | string[]> = {}): Promise<{ value: T; headers: Headers }> {
  const response = await ask(path, query);
  return { value: (await response.json()) as T, headers: response.headers };
}

/** Get a file, under the name that the server gives it. */
export async function getFile(path: string, query: Record<string, string | string[]>): Promise<{ content: Blob; name: string; headers: Headers }> {
  const response = await ask(path, query);
  const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "download";
  return { content: await response.blob(), name, headers: response.headers };
}

async function ask(path: string, query: Record<string, string | string[]>): Promise<Response> {
  const { token } = identity.read();
  const response = await reach(address(path, query), token ? { headers: { Authorization: `Bearer ${token}` } } : {});
  if (response.status === 401) location.assign("/login");
  if (!response.ok) throw new Refused(await explain(response), response.status);
  return response;
}

/** Send JSON with the token that the person entered, or as whoever is logged in. */
export async function send<T>(path: string, body: unknown): Promise<T> {
  const { token } = identity.read();
  const headers = { ...(token ? { Authorization: `Bearer ${token}` } : {}), "Content-Type": "application/json" };
  const response = await reach(path, { method: "POST", headers, body: JSON.stringify(body) });
  if (response.status === 401) throw new Refused(`${token ? "The token is invalid" : "This needs a token, or a login"}; nothing was changed.`, 401);
  if (!response.ok) throw new Refused(`Nothing was changed: ${await explain(response)}`, response.status);
  return (await response.json()) as T;
}

async function reach(path: string, options: RequestInit): Promise<Response> {
  try {
    return await fetch(path, options);
  } catch {
    throw new Refused("The server cannot be reached. Check the connection, then try again.", 0);
  }
}

async function explain(response: Response): Promise<string> {
  const body = (await response.json().catch(() => null)) as { detail?: unknown } | null;
  return typeof body?.detail === "string" ? body.detail : `the server responded with status ${response.status}`;
}
