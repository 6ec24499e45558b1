import JSON
import KubeSchema

/// Paths and operations as both versions write them.
extension OpenAPIPath {
  var v2: JSONValue { rendered(parameters.map(\.v2)) { $0.v2 } }
  var v3: JSONValue { rendered(parameters.map(\.v3)) { $0.v3 } }

  private func rendered(_ parameters: [JSONValue], _ operation: (OpenAPIOperation) -> JSONValue) -> JSONValue {
    var item = JSONObject()
    for each in operations { item[each.method] = operation(each) }
    item["parameters"] = .array(parameters)
    return .object(item)
  }
}

extension OpenAPIParameter {
  var v2: JSONValue {
    var parameter: JSONObject = [
      "name": .string(name), "in": isInPath ? "path" : "query", "description": .string(description),
      "type": .string(type), "uniqueItems": true,
    ]
    if isInPath { parameter["required"] = true }
    return .object(parameter)
  }

  var v3: JSONValue {
    var parameter: JSONObject = [
      "name": .string(name), "in": isInPath ? "path" : "query", "description": .string(description),
    ]
    if isInPath { parameter["required"] = true }
    parameter["schema"] = ["type": .string(type), "uniqueItems": true]
    return .object(parameter)
  }
}

extension OpenAPIOperation {
  private static let patchTypes = [
    "application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json",
  ]
  private static let customPatchTypes = ["application/json-patch+json", "application/merge-patch+json"]
  private static let customTypes = ["application/json", "application/yaml"]
  private static let types = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
  private static let streams = ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"]

  private var types: [String] { isCustom ? Self.customTypes : Self.types }
  private var consumes: [String] {
    switch action {
    case "patch": isCustom ? Self.customPatchTypes + ["application/apply-patch+yaml"] : Self.patchTypes
    case "connect": []
    default: types
    }
  }
  private var produces: [String] {
    if answer == nil { return action == "connect" ? ["*/*"] : ["text/plain", "application/json"] }
    return action == "list" ? types + Self.streams.prefix(isCustom ? 1 : 2) : types
  }

  private var head: JSONObject {
    ["tags": [.string(tag)], "description": .string(description), "operationId": .string(id)]
  }

  private func finish(_ operation: inout JSONObject) {
    operation["x-kubernetes-action"] = .string(action)
    operation["x-kubernetes-group-version-kind"] = kind.openAPI
  }

  /// Codes of success: what is created answers 201, what goes on later 202.
  private var codes: [(code: String, words: String)] {
    switch action {
    case "post": [("200", "OK"), ("201", "Created"), ("202", "Accepted")]
    case "put", "patch": [("200", "OK"), ("201", "Created")]
    case "delete": [("200", "OK"), ("202", "Accepted")]
    default: [("200", "OK")]
    }
  }

  var v2: JSONValue {
    var operation = head
    operation["consumes"] = JSONValue(consumes.isEmpty ? ["*/*"] : consumes)
    operation["produces"] = JSONValue(produces)
    operation["schemes"] = ["https"]
    var shown = parameters.map(\.v2)
    if let body {
      var parameter: JSONObject = ["name": "body", "in": "body", "schema": reference(body, .v2)]
      if isBodyRequired { parameter["required"] = true }
      shown.insert(.object(parameter), at: 0)
    }
    operation["parameters"] = .array(shown)
    var responses = JSONObject()
    for (code, words) in codes {
      responses[code] = [
        "description": .string(words), "schema": answer.map { reference($0, .v2) } ?? ["type": "string"],
      ]
    }
    responses["401"] = ["description": "Unauthorized"]
    operation["responses"] = .object(responses)
    finish(&operation)
    return .object(operation)
  }

  var v3: JSONValue {
    var operation = head
    if !parameters.isEmpty { operation["parameters"] = .array(parameters.map(\.v3)) }
    if let body {
      var request: JSONObject = ["content": content(consumes, reference(body, .v3))]
      if isBodyRequired { request["required"] = true }
      operation["requestBody"] = .object(request)
    }
    var responses = JSONObject()
    for (code, words) in codes {
      responses[code] = [
        "description": .string(words),
        "content": content(produces, answer.map { reference($0, .v3) } ?? ["type": "string"]),
      ]
    }
    responses["401"] = ["description": "Unauthorized"]
    operation["responses"] = .object(responses)
    finish(&operation)
    return .object(operation)
  }

  private func reference(_ type: String, _ version: OpenAPITypes.Version) -> JSONValue {
    ["$ref": .string(version.prefix + type)]
  }

  private func content(_ types: [String], _ schema: JSONValue) -> JSONValue {
    var content = JSONObject()
    for type in types { content[type] = ["schema": schema] }
    return .object(content)
  }
}
