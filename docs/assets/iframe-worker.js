// A page that is opened as a file may start no worker, which the search is. In its place, this runs
// the worker's script in a hidden frame; a page from a server has real workers and needs none of it.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #frame = document.createElement("iframe");
    #ready;

    constructor(url) {
      super();
      const loaded = new Promise((resolve) => this.#frame.addEventListener("load", resolve, { once: true }));
      this.#frame.hidden = true;
      this.#frame.srcdoc = "<!doctype html>";
      document.body.append(this.#frame);
      this.#ready = loaded.then(() => this.#start(String(url)));
    }

    postMessage(data) {
      this.#ready.then(() => this.#scope.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.#frame.remove();
    }

    get #scope() {
      return this.#frame.contentWindow;
    }

    #start(url) {
      const scope = this.#scope;
      scope.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      scope.importScripts = async (...urls) => {
        for (const each of urls) await this.#run(each);
      };
      return this.#run(url);
    }

    #run(url) {
      return new Promise((resolve, reject) => {
        const script = this.#scope.document.createElement("script");
        script.src = url;
        script.onload = resolve;
        script.onerror = () => reject(new Error(`${url} could not be loaded`));
        this.#scope.document.body.append(script);
      });
    }
  };
}
