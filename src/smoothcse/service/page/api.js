// Requests to the service: the token, errors as sentences, answers that came too late.

const TOKEN = "smoothcse-token";
let unauthorised = () => {};

/** Call `action` whenever the service answers that it wants a token. */
export function onUnauthorised(action) {
  unauthorised = action;
}

/** Keep the token for as long as this tab is open. */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/** Return the service's answer to a GET, or to a POST where there is a body; throw an Error that reads as a sentence. */
export async function ask(path, body, signal) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers["Content-Type"] = "application/json";
  const response = await reach(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  if (response.status === 401) unauthorised(Boolean(token));
  if (!response.ok) throw new Error(await sentence(response));
  return response.json();
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The service cannot be reached; is it still running?");
  }
}

async function sentence(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The service answered with status ${response.status}.`;
  }
}

/**
 * Return a function that runs `work(signal)` and drops what came before it: earlier requests are given up, and their
 * answers and errors never arrive. A sentence about what failed goes to `fail`, and null where nothing has.
 */
export function latest(fail) {
  let current = new AbortController();
  return async (work) => {
    current.abort();
    const mine = (current = new AbortController());
    try {
      await work(mine.signal);
      if (!mine.signal.aborted) fail(null);
    } catch (error) {
      if (!mine.signal.aborted) fail(error.message);
    }
  };
}

/** Return a function that runs `action` once nothing has called it for some milliseconds. */
export function debounced(action, milliseconds = 180) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}
