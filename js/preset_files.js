// The presets' files, in the user's folder of ComfyUI, through ComfyUI's own way to it.

import { FOLDER, PresetError, fileOf, namesOf } from "./lib/preset_names.js";

export class PresetFiles {
  constructor(host) {
    this.host = host;
  }

  async list() {
    const files = await this.host.api.listUserDataFullInfo(FOLDER).catch(() => {
      throw new PresetError("presetFailed", { name: FOLDER, status: "?" });
    });
    return namesOf(files);
  }

  async read(name) {
    const answer = await this.host.api.getUserData(fileOf(name));
    refuse(answer, name);
    return answer.text();
  }

  async save(name, text, { overwrite }) {
    const options = { overwrite, stringify: false, throwOnError: false };
    refuse(await this.host.api.storeUserData(fileOf(name), text, options), name);
  }

  async rename(old, name) {
    const [from, to] = [fileOf(old), fileOf(name)];
    refuse(await this.host.api.moveUserData(from, to, { overwrite: false }), old);
  }

  async remove(name) {
    refuse(await this.host.api.deleteUserData(fileOf(name)), name);
  }
}

function refuse({ status }, name) {
  if (status === 409) throw new PresetError("presetTaken", { name });
  if (status < 200 || status > 299) throw new PresetError("presetFailed", { name, status });
}
