// Anthropic's Node client and Vercel's AI SDK against the gateway: for each model a text, a stream, a call of a tool
// whole and streamed, and the answer to its result. Prints one line of JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [library, base, key, names] = process.argv.slice(2);
const require = createRequire(process.env.SHARDGATE_NODE + "/");
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const schema = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

async function anthropic(model) {
  const { default: Anthropic } = await load("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0 });
  const say = (content) => ({ model, max_tokens: 100, messages: [{ role: "user", content }] });
  const tools = [{ name: "weather", description: "The weather", input_schema: schema }];
  const text = (answer) => answer.content.map((block) => block.text ?? "").join("");
  const call = (answer) => {
    const block = answer.content.find((one) => one.type === "tool_use");
    return { name: block.name, args: block.input };
  };
  const whole = await client.messages.create(say("hi"));
  let streamed = "";
  await client.messages.stream(say("hi")).on("text", (piece) => { streamed += piece; }).finalMessage();
  const asked = await client.messages.create({ ...say("weather?"), tools });
  const askedStream = await client.messages.stream({ ...say("weather?"), tools }).finalMessage();
  const id = asked.content.find((one) => one.type === "tool_use").id;
  const history = [
    { role: "user", content: "weather?" }, { role: "assistant", content: asked.content },
    { role: "user", content: [{ type: "tool_result", tool_use_id: id, content: "sunny" }] },
  ];
  const after = await client.messages.create({ model, max_tokens: 100, tools, messages: history });
  return {
    text: text(whole), streamed, usage: whole.usage.input_tokens + whole.usage.output_tokens, call: call(asked),
    streamed_call: call(askedStream), after_result: text(after),
  };
}

async function vercel(model) {
  const { generateText, streamText, tool, stepCountIs, isStepCount, jsonSchema } = await load("ai");
  const stop = stepCountIs ?? isStepCount;
  const { createOpenAI } = await load("@ai-sdk/openai");
  const { createAnthropic } = await load("@ai-sdk/anthropic");
  const made = {
    "ai-openai": () => createOpenAI({ baseURL: base + "/v1", apiKey: key }).chat(model),
    "ai-openai-responses": () => createOpenAI({ baseURL: base + "/v1", apiKey: key }).responses(model),
    "ai-anthropic": () => createAnthropic({ baseURL: base + "/v1", apiKey: key })(model),
  }[library]();
  const silent = tool({ description: "The weather", inputSchema: jsonSchema(schema) });
  const working = tool({ description: "The weather", inputSchema: jsonSchema(schema), execute: async () => "sunny" });
  const ask = { model: made, maxRetries: 0, prompt: "hi" };
  const whole = await generateText(ask);
  let streamed = "";
  for await (const piece of streamText(ask).textStream) streamed += piece;
  const first = (calls) => ({ name: calls[0].toolName, args: calls[0].input });
  const asked = await generateText({ ...ask, tools: { weather: silent } });
  const stream = streamText({ ...ask, tools: { weather: silent } });
  const streamedCalls = await stream.toolCalls;
  const after = await generateText({ ...ask, tools: { weather: working }, stopWhen: stop(3) });
  return {
    text: whole.text, streamed, usage: whole.usage.totalTokens, call: first(asked.toolCalls),
    streamed_call: first(streamedCalls), after_result: after.text,
  };
}

const seen = {};
for (const model of names.split(",")) {
  try {
    seen[model] = await (library === "anthropic" ? anthropic(model) : vercel(model));
  } catch (error) {
    seen[model] = { error: String(error), cause: String(error.responseBody ?? error.stack) };
  }
}
console.log(JSON.stringify(seen));
