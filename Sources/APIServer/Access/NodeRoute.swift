import HTTPServer
import JSON

/// Where on its node a pod's log or stream is asked for: computed from objects and options alone.
struct NodeRoute: Equatable, Sendable {
  var nodeName: String
  var host: String
  var port: Int
  /// Not escaped.
  var path: String
  var query: HTTPQuery

  static let usualPort = 10250

  /// - Parameters:
  ///   - pod, node: the objects; nil where they do not exist.
  /// - Returns: nil for the log of a pod that has no node yet: it is empty.
  /// - Throws: what the user is told.
  static func plan(
    subresource: String, namespace: String, name: String, query: HTTPQuery, pod: JSONValue?,
    node: (String) -> JSONValue?
  ) throws(AccessRefusal) -> NodeRoute? {
    guard let pod else { throw .notFound("pods", name) }
    let options: (steps: [String], query: HTTPQuery)
    switch subresource {
    case "log":
      options = (["containerLogs", namespace, name, try container(query, pod, name)], try logOptions(query, name))
    case "exec", "attach":
      options = (
        [subresource, namespace, name, try container(query, pod, name)],
        try streamOptions(query, takesCommand: subresource == "exec")
      )
    case "portforward":
      var ports = HTTPQuery()
      for port in query.all("ports") + query.all("port") { ports.add("port", port) }
      options = (["portForward", namespace, name], ports)
    default: throw .notFound("pods/\(subresource)", name)
    }
    let nodeName = pod.text(at: "spec", "nodeName")
    if nodeName.isEmpty {
      if subresource == "log" { return nil }
      throw .badRequest("pod \(name) does not have a host assigned")
    }
    guard let node = node(nodeName) else { throw .notFound("nodes", nodeName) }
    guard let host = address(of: node) else {
      throw AccessRefusal(code: 500, reason: "", message: "no preferred addresses found; known addresses: []")
    }
    let port = node.at("status", "daemonEndpoints", "kubeletEndpoint", "Port")?.integer.flatMap { Int($0) } ?? 0
    return NodeRoute(
      nodeName: nodeName, host: host, port: port > 0 ? port : usualPort,
      path: "/" + options.steps.joined(separator: "/"), query: options.query)
  }

  static func address(of node: JSONValue) -> String? {
    let addresses = node.at("status", "addresses")?.array ?? []
    for type in ["InternalIP", "InternalDNS", "ExternalIP", "Hostname"] {
      if let found = addresses.first(where: { $0.text(at: "type") == type }) { return found.text(at: "address") }
    }
    return nil
  }

  /// The container that is meant: the named one, or the only one.
  private static func container(
    _ query: HTTPQuery, _ pod: JSONValue, _ name: String
  ) throws(AccessRefusal) -> String {
    func names(_ list: String) -> [String] {
      (pod.at("spec", list)?.array ?? []).map { $0.text(at: "name") }
    }
    let (main, initial) = (names("containers"), names("initContainers"))
    let wanted = query["container"] ?? ""
    guard wanted.isEmpty else {
      guard (main + initial + names("ephemeralContainers")).contains(wanted) else {
        throw .badRequest("container \(wanted) is not valid for pod \(name)")
      }
      return wanted
    }
    if main.count == 1 { return main[0] }
    var message = "a container name must be specified for pod \(name)"
    if !main.isEmpty { message += ", choose one of: [\(main.joined(separator: " "))]" }
    if !initial.isEmpty { message += " or one of the init containers: [\(initial.joined(separator: " "))]" }
    throw .badRequest(message)
  }

  private static func flag(_ query: HTTPQuery, _ name: String) throws(AccessRefusal) -> Bool {
    switch query[name] ?? "" {
    case "", "0", "false", "f", "F", "FALSE", "False": return false
    case "1", "true", "t", "T", "TRUE", "True": return true
    case let other:
      throw .badRequest("strconv.ParseBool: parsing \"\(other)\": invalid syntax")
    }
  }

  private static func logOptions(_ query: HTTPQuery, _ pod: String) throws(AccessRefusal) -> HTTPQuery {
    var options = HTTPQuery()
    for name in ["follow", "previous", "timestamps"] where try flag(query, name) { options.add(name, "true") }
    for (name, least) in [("sinceSeconds", Int64(1)), ("tailLines", 0), ("limitBytes", 1)] {
      guard let text = query[name], !text.isEmpty else { continue }
      guard let number = Int64(text) else {
        throw .badRequest("strconv.ParseInt: parsing \"\(text)\": invalid syntax")
      }
      guard number >= least else {
        let bound = least == 0 ? "must be greater than or equal to 0" : "must be greater than 0"
        throw invalid(name, "Invalid value: \(number): \(bound)", "FieldValueInvalid", pod)
      }
      options.add(name, "\(number)")
    }
    if let time = query["sinceTime"], !time.isEmpty {
      guard query["sinceSeconds"] == nil else {
        throw invalid(
          "", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified", "FieldValueForbidden", pod)
      }
      options.add("sinceTime", time)
    }
    if let stream = query["stream"], !stream.isEmpty {
      guard ["All", "Stdout", "Stderr"].contains(stream) else {
        throw invalid(
          "stream", "Unsupported value: \"\(stream)\": supported values: \"All\", \"Stderr\", \"Stdout\"",
          "FieldValueNotSupported", pod)
      }
      options.add("stream", stream)
    }
    return options
  }

  private static func invalid(_ field: String, _ problem: String, _ reason: String, _ pod: String) -> AccessRefusal {
    let text = field.isEmpty ? problem : "\(field): \(problem)"
    return AccessRefusal(
      code: 422, reason: "Invalid", message: "PodLogOptions \"\(pod)\" is invalid: \(text)",
      details: [
        "name": .string(pod), "kind": "PodLogOptions",
        "causes": [["reason": .string(reason), "message": .string(problem), "field": .string(field)]],
      ])
  }

  private static func streamOptions(_ query: HTTPQuery, takesCommand: Bool) throws(AccessRefusal) -> HTTPQuery {
    var options = HTTPQuery()
    for (asked, passed) in [("stdin", "input"), ("stdout", "output"), ("stderr", "error"), ("tty", "tty")]
    where try flag(query, asked) {
      options.add(passed, "1")
    }
    if takesCommand { for word in query.all("command") { options.add("command", word) } }
    return options
  }
}
