// Answers from the service that this page comes from.

export class ServiceError extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export class ServerBackend {
  constructor() {
    this.key = "";
  }

  async model() {
    return (await this.#ask("v1/model")).json();
  }

  // -> {verdict, guesses: [{class, probability}]}, the most probable class first
  async classify(photo, classes) {
    const answer = await this.#ask(`v1/classify?top=${classes}`, photo);
    return (await answer.json()).results[0];
  }

  // -> a picture of the photo on which the parts that decide are bright
  async explain(photo) {
    return (await this.#ask("v1/explain", photo)).blob();
  }

  // -> [{photo, similarity, picture}], the most similar first; picture is an address for `picture`
  async similar(photo) {
    return (await (await this.#ask("v1/similar?top=8", photo)).json()).matches;
  }

  async picture(address) {
    return (await this.#ask(address)).blob();
  }

  async #ask(path, photo) {
    const headers = this.key ? { authorization: `Bearer ${this.key}` } : {};
    const request = photo ? { method: "POST", body: photo } : {};
    if (photo) headers["content-type"] = "application/octet-stream";
    let answer;
    try {
      answer = await fetch(path, { ...request, headers });
    } catch {
      throw new ServiceError(0, "");
    }
    if (!answer.ok) {
      const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
      throw new ServiceError(answer.status, problem.detail);
    }
    return answer;
  }
}
