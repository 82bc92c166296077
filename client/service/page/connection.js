// Requests to the server that this page comes from.

// What went wrong, with the status of HTTP that names it; 0: no answer.
export class ServiceError extends Error {
  constructor(status, detail = "") {
    super(detail);
    this.status = status;
  }
}

export class Connection {
  constructor() {
    this.key = "";
  }

  async ask(path, photo) {
    const headers = this.key ? { authorization: `Bearer ${this.key}` } : {};
    const request = photo ? { method: "POST", body: photo } : {};
    if (photo) headers["content-type"] = "application/octet-stream";
    let answer;
    try {
      answer = await fetch(path, { ...request, headers });
    } catch {
      throw new ServiceError(0);
    }
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
      throw new ServiceError(answer.status, problem.detail);
    }
    return answer;
  }
}
