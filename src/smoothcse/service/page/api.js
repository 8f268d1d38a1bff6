// Requests to the service: token, error messages, outdated answers.

const TOKEN = "smoothcse-token";
let unauthorised = () => {};

/** Call `action` whenever the service rejects a request for lack of a valid token. */
export function onUnauthorised(action) {
  unauthorised = action;
}

/** Keep the token while this tab is open. */
export function keepToken(token) {
  sessionStorage.setItem(TOKEN, token);
}

/** Send a GET request, or a POST request with a body, and return the JSON response; throw an Error whose message is a sentence. */
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
    throw new Error("Cannot reach the service. Check that it is still running.");
  }
}

async function sentence(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The service returned status ${response.status}.`;
  }
}

/**
 * Return a function that runs `work(signal)` and cancels its earlier calls: their requests are aborted, and their results and
 * errors are ignored. `fail` receives the error message, or null after a success.
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

/** Return a function that runs `action` after it has not been called for some milliseconds. */
export function debounced(action, milliseconds = 180) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(action, milliseconds);
  };
}
