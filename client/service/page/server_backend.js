// Answers from the service that this page comes from.

export class ServerBackend {
  #connection;

  constructor(connection) {
    this.#connection = connection;
  }

  async model() {
    return (await this.#connection.ask("v1/model")).json();
  }

  // -> {verdict, guesses: [{class, probability}]}, the most probable class first
  async classify(photo, classes) {
    const answer = await this.#connection.ask(`v1/classify?top=${classes}`, photo);
    return (await answer.json()).results[0];
  }

  // -> {width, height, score, products: [{box, score, verdict, guesses}]}, the surest box first
  async locate(photo) {
    return (await this.#connection.ask("v1/locate?tiles=auto", photo)).json();
  }

  // -> a picture of the photo on which the parts that decide are bright
  async explain(photo) {
    return (await this.#connection.ask("v1/explain", photo)).blob();
  }

  // -> [{photo, similarity, picture}], the most similar first; picture is an address for `picture`
  async similar(photo) {
    return (await (await this.#connection.ask("v1/similar?top=8", photo)).json()).matches;
  }

  async picture(address) {
    return (await this.#connection.ask(address)).blob();
  }
}
