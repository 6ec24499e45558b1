import JSON
import KubeSchema

/// A parameter of an operation, in its query or its path.
struct OpenAPIParameter: Sendable {
  let name: String
  var type = "string"
  var isInPath = false
  let description: String

  static let pretty = OpenAPIParameter(name: "pretty", description: "If 'true', the answer is indented.")
  static let name = OpenAPIParameter(name: "name", isInPath: true, description: "The name of the object.")
  static let namespace = OpenAPIParameter(
    name: "namespace", isInPath: true, description: "The namespace of the object.")

  static let writing = [
    OpenAPIParameter(name: "dryRun", description: "'All': do everything but store the result."),
    OpenAPIParameter(name: "fieldManager", description: "The name of who or what makes the change."),
    OpenAPIParameter(
      name: "fieldValidation",
      description: "What to do with unknown and repeated fields: Ignore, Warn (the default) or Strict."),
  ]
  static let deleting = [
    OpenAPIParameter(name: "dryRun", description: "'All': do everything but store the result."),
    OpenAPIParameter(
      name: "gracePeriodSeconds", type: "integer", description: "Seconds the object has to end; 0 ends it at once."),
    OpenAPIParameter(
      name: "orphanDependents", type: "boolean", description: "Old form of propagationPolicy=Orphan."),
    OpenAPIParameter(
      name: "propagationPolicy",
      description: "What becomes of what the object owns: Orphan, Background or Foreground."),
  ]
  static let listing = [
    OpenAPIParameter(
      name: "allowWatchBookmarks", type: "boolean", description: "A watch may tell its revision from time to time."),
    OpenAPIParameter(name: "continue", description: "Goes on with a list at the place that the last answer named."),
    OpenAPIParameter(name: "fieldSelector", description: "Only objects whose fields have these values."),
    OpenAPIParameter(name: "labelSelector", description: "Only objects with these labels."),
    OpenAPIParameter(name: "limit", type: "integer", description: "At most so many objects in one answer."),
    OpenAPIParameter(name: "resourceVersion", description: "The revision to list or to watch from."),
    OpenAPIParameter(
      name: "resourceVersionMatch", description: "How resourceVersion is meant: Exact or NotOlderThan."),
    OpenAPIParameter(
      name: "timeoutSeconds", type: "integer", description: "Ends the list or the watch after so many seconds."),
    OpenAPIParameter(name: "watch", type: "boolean", description: "Stream changes instead of listing."),
  ]
  static let ofSubresources: [String: [OpenAPIParameter]] = [
    "log": [
      container, OpenAPIParameter(name: "follow", type: "boolean", description: "Go on as the log grows."),
      OpenAPIParameter(name: "limitBytes", type: "integer", description: "At most so many bytes."),
      OpenAPIParameter(name: "previous", type: "boolean", description: "The log of the container's last run."),
      OpenAPIParameter(name: "sinceSeconds", type: "integer", description: "Only lines of the last seconds."),
      OpenAPIParameter(name: "sinceTime", description: "Only lines since this time."),
      OpenAPIParameter(name: "tailLines", type: "integer", description: "Only the last lines."),
      OpenAPIParameter(name: "timestamps", type: "boolean", description: "Begin each line with its time."),
    ],
    "exec": [OpenAPIParameter(name: "command", description: "The program and its arguments.")] + streams,
    "attach": streams,
    "portforward": [OpenAPIParameter(name: "ports", description: "The ports to forward.")],
  ]
  private static let container = OpenAPIParameter(name: "container", description: "Which container.")
  private static let streams = [
    container, OpenAPIParameter(name: "stdin", type: "boolean", description: "Pass standard input on."),
    OpenAPIParameter(name: "stdout", type: "boolean", description: "Pass standard output on."),
    OpenAPIParameter(name: "stderr", type: "boolean", description: "Pass standard error on."),
    OpenAPIParameter(name: "tty", type: "boolean", description: "Use a terminal."),
  ]
}

/// What one method does on one path.
struct OpenAPIOperation: Sendable {
  /// Lower case.
  let method: String
  let id: String
  let description: String
  /// `list`, `post`, `get`, `put`, `patch`, `delete`, `deletecollection` or `connect`.
  let action: String
  let kind: GroupVersionKind
  let tag: String
  /// Full name of the type of the body.
  var body: String?
  var isBodyRequired = true
  /// Full name of the type of the answer; nil: plain text.
  var answer: String?
  var parameters: [OpenAPIParameter] = []
  /// Of a resource whose lists have no merge keys: it takes no strategic merge patch.
  var isCustom = false

  var typeNames: [String] { [body, answer].compactMap { $0 } }
}

/// A path and what may be done there.
struct OpenAPIPath: Sendable {
  let template: String
  let parameters: [OpenAPIParameter]
  var operations: [OpenAPIOperation]
}

/// The paths of all resources.
struct OpenAPIPaths: Sendable {
  private let schema: Schema
  let groupVersions: [GroupVersion]
  /// Names of the types that are not in the table.
  private let custom: [GroupVersionKind: CustomKind]

  init(_ schema: Schema, _ custom: [CustomKind] = []) {
    self.schema = schema
    self.custom = Dictionary(custom.map { ($0.kind, $0) }, uniquingKeysWith: { first, _ in first })
    var seen: [GroupVersion] = []
    for row in schema.resources {
      let version = GroupVersion(group: row.group, version: row.version)
      if !seen.contains(version) { seen.append(version) }
    }
    groupVersions = seen
  }

  func paths(of version: GroupVersion) -> [OpenAPIPath] {
    let rows = schema.resources.filter { $0.group == version.group && $0.version == version.version }
    let root = version.isCore ? "/api/\(version.version)" : "/apis/\(version.group)/\(version.version)"
    return rows.flatMap { row in
      let place = row.isNamespaced ? "\(root)/namespaces/{namespace}/\(row.resource)" : "\(root)/\(row.resource)"
      let space = row.isNamespaced ? [OpenAPIParameter.namespace, .pretty] : [.pretty]
      let named = [OpenAPIParameter.name] + space
      if let subresource = row.subresource {
        return [
          path("\(place)/{name}/\(subresource)", named, subresourceOperations(row, subresource))
        ].compactMap { $0 }
      }
      let everywhere =
        row.isNamespaced && row.verbs.contains("list")
        ? path("\(root)/\(row.resource)", [.pretty], [list(row, everywhere: true)]) : nil
      return [
        path(place, space, collectionOperations(row)), path("\(place)/{name}", named, itemOperations(row)), everywhere,
      ].compactMap { $0 }
    }
  }

  private func path(
    _ template: String, _ parameters: [OpenAPIParameter], _ operations: [OpenAPIOperation]
  ) -> OpenAPIPath? {
    operations.isEmpty ? nil : OpenAPIPath(template: template, parameters: parameters, operations: operations)
  }

  // MARK: operations

  private func collectionOperations(_ row: ResourceRow) -> [OpenAPIOperation] {
    var operations: [OpenAPIOperation] = []
    if row.verbs.contains("list") { operations.append(list(row, everywhere: false)) }
    if row.verbs.contains("create") {
      operations.append(
        operation(
          row, "post", "create", "post", "Create", body: typeName(row), parameters: OpenAPIParameter.writing))
    }
    if row.verbs.contains("deletecollection") {
      operations.append(
        operation(
          row, "delete", "deleteCollection", "deletecollection", "Delete many of", body: deleteOptions,
          isBodyRequired: false, answer: status,
          parameters: OpenAPIParameter.deleting
            + OpenAPIParameter.listing.filter { !["allowWatchBookmarks", "watch"].contains($0.name) }))
    }
    return operations
  }

  private func itemOperations(_ row: ResourceRow) -> [OpenAPIOperation] {
    var operations = readAndWrite(row)
    if row.verbs.contains("delete") {
      let answer = row.kind == "Pod" || row.kind == "Service" || row.kind == "ServiceAccount" ? typeName(row) : status
      operations.append(
        operation(
          row, "delete", "delete", "delete", "Delete", body: deleteOptions, isBodyRequired: false, answer: answer,
          parameters: OpenAPIParameter.deleting))
    }
    return operations
  }

  private func readAndWrite(_ row: ResourceRow) -> [OpenAPIOperation] {
    var operations: [OpenAPIOperation] = []
    if row.verbs.contains("get") { operations.append(operation(row, "get", "read", "get", "Read")) }
    if row.verbs.contains("update") {
      operations.append(
        operation(
          row, "put", "replace", "put", "Replace", body: typeName(row), parameters: OpenAPIParameter.writing))
    }
    if row.verbs.contains("patch") {
      operations.append(
        operation(
          row, "patch", "patch", "patch", "Change a part of", body: OpenAPITypes.patch,
          parameters: OpenAPIParameter.writing))
    }
    return operations
  }

  private func subresourceOperations(_ row: ResourceRow, _ subresource: String) -> [OpenAPIOperation] {
    if row.kind.hasSuffix("Options") {
      return row.verbs.sorted(by: >).map { verb in
        let method = verb == "create" ? "post" : "get"
        var connect = operation(
          row, method, "connect\(method.capitalizedWord)", "connect", "Connect to",
          parameters: OpenAPIParameter.ofSubresources[subresource] ?? [])
        connect.answer = nil
        return connect
      }
    }
    var operations = readAndWrite(row)
    if row.verbs.contains("create") {
      operations.append(
        operation(
          row, "post", "create", "post", "Create", body: typeName(row), parameters: OpenAPIParameter.writing))
    }
    if subresource == "log", !operations.isEmpty {
      operations[0].answer = nil
      operations[0].parameters = OpenAPIParameter.ofSubresources["log"] ?? []
    }
    return operations
  }

  private func list(_ row: ResourceRow, everywhere: Bool) -> OpenAPIOperation {
    var list = operation(
      row, "get", "list", "list", "List or watch", answer: typeName(row, suffix: "List"),
      parameters: OpenAPIParameter.listing)
    guard everywhere else { return list }
    list = OpenAPIOperation(
      method: list.method, id: "list\(prefix(row))\(row.kind)ForAllNamespaces", description: list.description,
      action: list.action, kind: list.kind, tag: list.tag, answer: list.answer, parameters: list.parameters,
      isCustom: list.isCustom)
    return list
  }

  private func operation(
    _ row: ResourceRow, _ method: String, _ verb: String, _ action: String, _ words: String, body: String? = nil,
    isBodyRequired: Bool = true, answer: String? = nil, parameters: [OpenAPIParameter] = []
  ) -> OpenAPIOperation {
    let scope = row.isNamespaced ? "Namespaced" : ""
    let part = row.subresource.map { $0.capitalizedWord } ?? ""
    let parent = schema.resources.first {
      $0.resource == row.resource && $0.group == row.group && $0.subresource == nil
    }
    let collection = verb == "deleteCollection"
    let what = row.subresource.map { "\($0) of \(row.resource)" } ?? row.resource
    let verbName = collection ? "delete" : verb.hasPrefix("connect") ? "connect" : verb
    let inner = collection ? "Collection" : verb.hasPrefix("connect") ? String(verb.dropFirst("connect".count)) : ""
    return OpenAPIOperation(
      method: method, id: "\(verbName)\(prefix(row))\(inner)\(scope)\(parent?.kind ?? row.kind)\(part)",
      description: "\(words) \(what).", action: action, kind: schema.kind(of: row),
      tag: "\(row.group.isEmpty ? "core" : firstLabel(row.group))_\(row.version)", body: body,
      isBodyRequired: isBodyRequired, answer: answer ?? typeName(row), parameters: parameters,
      isCustom: parent.map { custom[schema.kind(of: $0)] != nil } ?? false)
  }

  private func prefix(_ row: ResourceRow) -> String {
    (row.group.isEmpty ? "Core" : firstLabel(row.group).capitalizedWord) + row.version.capitalizedWord
  }

  private func firstLabel(_ group: String) -> String { group.split(separator: ".").first.map(String.init) ?? group }

  private func typeName(_ row: ResourceRow, suffix: String = "") -> String? {
    let kind = schema.kind(of: row)
    if let custom = custom[kind] { return suffix.isEmpty ? custom.typeName : custom.listTypeName }
    return schema.type(apiVersion: kind.apiVersion, kind: kind.kind + suffix)?.name
  }

  private var deleteOptions: String? { schema.type(apiVersion: "v1", kind: "DeleteOptions")?.name }
  private var status: String? { schema.type(apiVersion: "v1", kind: "Status")?.name }
}

extension String {
  /// `v1` → `V1`
  var capitalizedWord: String { prefix(1).uppercased() + dropFirst() }
}
