import JSON
import Kernel
import YAML

/// Why a file of settings for security cannot be used.
package struct SecurityFileError: Error, Hashable, Sendable, CustomStringConvertible {
  package let file: String
  package let reason: String
  package var description: String { "\(file): \(reason)" }
}

/// What of which requests is written down: `audit.k8s.io/v1` Policy.
///
/// https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/
package struct AuditPolicy: Hashable, Sendable {
  package enum Level: String, Hashable, Comparable, Sendable, CaseIterable {
    case none = "None"
    case metadata = "Metadata"
    case request = "Request"
    case requestResponse = "RequestResponse"

    private var rank: Int { Self.allCases.firstIndex(of: self) ?? 0 }
    package static func < (one: Level, other: Level) -> Bool { one.rank < other.rank }
  }

  enum Stage: String, Hashable, Sendable, CaseIterable {
    case requestReceived = "RequestReceived"
    case responseStarted = "ResponseStarted"
    case responseComplete = "ResponseComplete"
    case panic = "Panic"
  }

  struct Resources: Hashable, Sendable {
    var group = ""
    var resources: Set<String> = []
    var names: Set<String> = []
  }

  struct Rule: Hashable, Sendable {
    var level = Level.metadata
    var users: Set<String> = []
    var groups: Set<String> = []
    var verbs: Set<String> = []
    var resources: [Resources] = []
    var namespaces: Set<String> = []
    var paths: Set<String> = []
    var omitted: Set<Stage> = []
  }

  private(set) var rules: [Rule] = []
  private(set) var omitted: Set<Stage> = []

  private static let fileBytesMax = 1 << 20
  private static let rulesMax = 1000

  /// Reads a policy's file. Blocks on the disk.
  package init(file: String) throws(SecurityFileError) {
    let document = try SecurityFile.read(file, apiVersion: "audit.k8s.io/v1", kind: "Policy")
    func fail(_ reason: String) -> SecurityFileError { SecurityFileError(file: file, reason: reason) }
    for key in document.keys
    where !["apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"].contains(key) {
      throw fail("unknown field \"\(key)\"")
    }
    omitted = try Self.stages(document["omitStages"], file)
    guard let list = document["rules"]?.array, !list.isEmpty else { throw fail("rules: at least one is needed") }
    guard list.count <= Self.rulesMax else { throw fail("rules: more than \(Self.rulesMax)") }
    for (index, value) in list.enumerated() {
      guard let object = value.object else { throw fail("rules[\(index)]: not an object") }
      rules.append(try Self.rule(object, "rules[\(index)]", file))
    }
  }

  private static func rule(_ object: JSONObject, _ path: String, _ file: String) throws(SecurityFileError) -> Rule {
    var rule = Rule()
    for (key, value) in object.members {
      switch key {
      case "level":
        guard let level = Level(rawValue: value.string ?? "") else {
          throw SecurityFileError(
            file: file,
            reason: "\(path).level: None, Metadata, Request or RequestResponse, not \(value.encodedString())")
        }
        rule.level = level
      case "users": rule.users = try strings(value, "\(path).users", file)
      case "userGroups": rule.groups = try strings(value, "\(path).userGroups", file)
      case "verbs": rule.verbs = try strings(value, "\(path).verbs", file)
      case "namespaces": rule.namespaces = try strings(value, "\(path).namespaces", file)
      case "nonResourceURLs": rule.paths = try strings(value, "\(path).nonResourceURLs", file)
      case "omitStages": rule.omitted = try stages(value, file)
      case "omitManagedFields": continue
      case "resources":
        for resource in value.array ?? [] {
          rule.resources.append(
            Resources(
              group: resource.text("group"),
              resources: try strings(resource["resources"] ?? [], "\(path).resources", file),
              names: try strings(resource["resourceNames"] ?? [], "\(path).resourceNames", file)))
        }
      default: throw SecurityFileError(file: file, reason: "\(path): unknown field \"\(key)\"")
      }
    }
    guard object["level"] != nil else { throw SecurityFileError(file: file, reason: "\(path).level: is needed") }
    guard rule.paths.isEmpty || rule.resources.isEmpty && rule.namespaces.isEmpty else {
      throw SecurityFileError(
        file: file, reason: "\(path): rules cannot apply to both regular resources and non-resource URLs")
    }
    return rule
  }

  private static func strings(_ value: JSONValue, _ path: String, _ file: String) throws(SecurityFileError) -> Set<
    String
  > {
    guard let list = value.array, list.allSatisfy({ $0.string != nil }) else {
      throw SecurityFileError(file: file, reason: "\(path): not a list of strings")
    }
    return Set(list.compactMap(\.string))
  }

  private static func stages(_ value: JSONValue?, _ file: String) throws(SecurityFileError) -> Set<Stage> {
    var stages: Set<Stage> = []
    for name in value?.array ?? [] {
      guard let stage = Stage(rawValue: name.string ?? "") else {
        throw SecurityFileError(file: file, reason: "omitStages: no stage \(name.encodedString())")
      }
      stages.insert(stage)
    }
    return stages
  }

  /// The level of the first rule that fits, and the stages that are not told.
  func decide(_ user: UserInfo, _ asked: AccessAttributes) -> (level: Level, omitted: Set<Stage>) {
    for rule in rules where rule.fits(user, asked) { return (rule.level, omitted.union(rule.omitted)) }
    return (.none, [])
  }
}

extension AuditPolicy.Rule {
  func fits(_ user: UserInfo, _ asked: AccessAttributes) -> Bool {
    guard users.isEmpty || users.contains(user.name), groups.isEmpty || !groups.isDisjoint(with: user.groups),
      verbs.isEmpty || verbs.contains(asked.verb)
    else { return false }
    if resources.isEmpty, namespaces.isEmpty, paths.isEmpty { return true }
    if asked.resource.isEmpty {
      return paths.contains {
        $0 == "*" || $0 == asked.path || $0.hasSuffix("*") && asked.path.hasPrefix($0.dropLast())
      }
    }
    guard paths.isEmpty, namespaces.isEmpty || namespaces.contains(asked.namespace) else { return false }
    return resources.isEmpty || resources.contains { $0.fits(asked) }
  }
}

extension AuditPolicy.Resources {
  func fits(_ asked: AccessAttributes) -> Bool {
    guard group == asked.group, names.isEmpty || names.contains(asked.name) else { return false }
    if resources.isEmpty { return true }
    let full = asked.subresource.isEmpty ? asked.resource : "\(asked.resource)/\(asked.subresource)"
    return resources.contains {
      $0 == "*" && asked.subresource.isEmpty || $0 == full || $0 == "\(asked.resource)/*" && !asked.subresource.isEmpty
        || !asked.subresource.isEmpty && $0 == "*/\(asked.subresource)"
    }
  }
}

/// Files of settings: one document of a known kind.
enum SecurityFile {
  private static let bytesMax = 1 << 20

  static func read(_ file: String, apiVersion: String, kind: String) throws(SecurityFileError) -> JSONObject {
    let documents: [JSONValue]
    do {
      let bytes = try Files.read(file, maxBytes: bytesMax)
      guard let text = String(validating: bytes, as: UTF8.self) else { throw YAMLError("not UTF-8") }
      documents = try YAML.parse(text, limits: YAMLLimits())
    } catch {
      throw SecurityFileError(file: file, reason: "\(error)")
    }
    guard documents.count == 1, let document = documents[0].object else {
      throw SecurityFileError(file: file, reason: "one document is expected, not \(documents.count)")
    }
    guard document.text("apiVersion") == apiVersion, document.text("kind") == kind else {
      throw SecurityFileError(
        file: file,
        reason: "\(apiVersion) \(kind) is expected, not \(document.text("apiVersion")) \(document.text("kind"))")
    }
    return document
  }
}
