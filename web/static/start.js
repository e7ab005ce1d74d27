// The bundled Swagger UI reads OpenAPI 3.0 only; the document is 3.1. What differs is how a value
// that may be null is written, so that is rewritten before it is shown.
function older(node) {
  if (Array.isArray(node)) return node.map(older);
  if (node === null || typeof node !== "object") return node;
  const copy = Object.fromEntries(Object.entries(node).map(([key, value]) => [key, older(value)]));
  if (Array.isArray(copy.type)) {
    copy.nullable = copy.type.includes("null");
    copy.type = copy.type.find((name) => name !== "null");
  }
  return copy;
}

fetch("/openapi.json")
  .then((answer) => answer.json())
  .then((described) => {
    const spec = { ...older(described), openapi: "3.0.3" };
    SwaggerUIBundle({ spec, dom_id: "#api", deepLinking: true, persistAuthorization: true });
  });
