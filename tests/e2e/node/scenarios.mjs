// One scenario of OpenAI's Node client: node scenarios.mjs NAME BASE_URL KEY. It prints one line of
// JSON with what it saw; the Python side scripts the upstream and judges.
import { createRequire } from "node:module";

const require = createRequire(process.env.SHARDGATE_NODE + "/package.json");
const OpenAI = require("openai").default ?? require("openai");
const { toFile } = require("openai");
const [name, baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL: baseURL + "/v1", apiKey, maxRetries: 0, timeout: 20000 });
const messages = [{ role: "user", content: "hi" }];
const tools = [{ type: "function", function: { name: "weather", parameters: { type: "object", properties: {} } } }];
const picture = Buffer.from("89504e470d0a1a0a0000", "hex");
const url = "data:image/png;base64," + picture.toString("base64");

async function collect(stream) {
  const seen = { text: "", models: new Set(), usage: null, chunks: 0, finish: null, args: "" };
  for await (const chunk of stream) {
    seen.chunks += 1;
    seen.models.add(chunk.model);
    if (chunk.usage) seen.usage = chunk.usage.total_tokens;
    const choice = chunk.choices[0];
    seen.text += choice?.delta?.content ?? "";
    seen.args += choice?.delta?.tool_calls?.[0]?.function?.arguments ?? "";
    seen.finish = choice?.finish_reason ?? seen.finish;
  }
  return { ...seen, models: [...seen.models] };
}

const scenarios = {
  async chat() {
    const { data, response } = await client.chat.completions.create({ model: "gpt", messages }).withResponse();
    return { text: data.choices[0].message.content, model: data.model, id: response.headers.get("x-litellm-call-id") };
  },
  async concurrent() {
    const all = Array.from({ length: 20 }, () => client.chat.completions.create({ model: "gpt", messages }));
    return { texts: (await Promise.all(all)).map((one) => one.choices[0].message.content) };
  },
  stream: async () => collect(await client.chat.completions.create({ model: "gpt", messages, stream: true })),
  stream_usage: async () => collect(await client.chat.completions.create(
    { model: "gpt", messages, stream: true, stream_options: { include_usage: true } })),
  async stream_helper() {
    const stream = client.chat.completions.stream({ model: "gpt", messages });
    return { text: await stream.finalContent() };
  },
  async stream_abort() {
    const stream = await client.chat.completions.create({ model: "gpt", messages, stream: true });
    for await (const _ of stream) { stream.controller.abort(); break; }
    return { aborted: true };
  },
  async tools() {
    const answer = await client.chat.completions.create({ model: "gpt", messages, tools, tool_choice: "required" });
    return { call: answer.choices[0].message.tool_calls[0].function };
  },
  tools_stream: async () => collect(await client.chat.completions.create({ model: "gpt", messages, tools, stream: true })),
  async vision() {
    const content = [{ type: "text", text: "?" }, { type: "image_url", image_url: { url } }];
    const answer = await client.chat.completions.create({ model: "gpt", messages: [{ role: "user", content }] });
    return { text: answer.choices[0].message.content };
  },
  async completions() {
    return { text: (await client.completions.create({ model: "gpt", prompt: "hello" })).choices[0].text };
  },
  async embeddings() {
    const answer = await client.embeddings.create({ model: "embed", input: ["a"], encoding_format: "float" });
    return { vector: answer.data[0].embedding };
  },
  async images() {
    return { image: (await client.images.generate({ model: "image", prompt: "cat" })).data[0].b64_json };
  },
  async image_edit() {
    const image = await toFile(picture, "cat.png", { type: "image/png" });
    return { image: (await client.images.edit({ model: "image", image, prompt: "hat" })).data[0].b64_json };
  },
  async image_variation() {
    const image = await toFile(picture, "cat.png", { type: "image/png" });
    return { image: (await client.images.createVariation({ model: "image", image })).data[0].b64_json };
  },
  async transcription() {
    const file = await toFile(Buffer.from("RIFF....WAVE"), "a.wav", { type: "audio/wav" });
    return { text: (await client.audio.transcriptions.create({ model: "ears", file })).text };
  },
  async translation() {
    const file = await toFile(Buffer.from("RIFF....WAVE"), "a.wav", { type: "audio/wav" });
    return { text: (await client.audio.translations.create({ model: "ears", file })).text };
  },
  async speech() {
    const answer = await client.audio.speech.create({ model: "voice", voice: "alloy", input: "hi" });
    return { bytes: (await answer.arrayBuffer()).byteLength, type: answer.headers.get("content-type") };
  },
  async moderations() {
    return { flagged: (await client.moderations.create({ model: "judge", input: "x" })).results[0].flagged };
  },
  async responses() {
    return { text: (await client.responses.create({ model: "gpt", input: "hi" })).output_text };
  },
  async responses_stream() {
    let text = "", last = null;
    for await (const event of await client.responses.create({ model: "gpt", input: "hi", stream: true })) {
      last = event.type;
      if (event.type === "response.output_text.delta") text += event.delta;
    }
    return { text, last };
  },
  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return { ids: ids.sort() };
  },
  async error() {
    await client.chat.completions.create({ model: "gpt", messages });
    return {};
  },
  async error_stream() { return collect(await client.chat.completions.create({ model: "gpt", messages, stream: true })); },
  async timeout() {
    await client.chat.completions.create({ model: "gpt", messages }, { timeout: 500 });
    return {};
  },
  async retries() {
    const answer = await client.chat.completions.create({ model: "gpt", messages }, { maxRetries: 2 });
    return { text: answer.choices[0].message.content };
  },
  async wrong_key() {
    const other = new OpenAI({ baseURL: baseURL + "/v1", apiKey: "sk-wrong-key-0123456789", maxRetries: 0 });
    await other.chat.completions.create({ model: "gpt", messages });
    return {};
  },
};

try {
  console.log(JSON.stringify({ ok: await scenarios[name]() }));
} catch (error) {
  const { status, message, code, type } = error;
  console.log(JSON.stringify({ error: { name: error.constructor.name, status, message, code, type } }));
}
