import HTTPServer
import JSON
import KubeModel
import KubeSchema
import Logging

/// Whose the fields of a write are.
enum FieldOwnership: Sendable {
  /// What the write changes is the writer's.
  case ofWriter
  /// The named fields are the applier's, whatever they were before.
  case applied(ManagedFields.Manager, FieldSet)
  /// The object says already.
  case settled
}

extension APIServer {
  /// Bytes of a manager's name at most.
  private static let managerBytesMax = 128

  /// Who writes, as `managedFields` names it.
  static func manager(_ context: RequestContext, applies: Bool = false) -> ManagedFields.Manager {
    var name = context.query["fieldManager"] ?? ""
    if name.isEmpty {
      let agent = context.request.headers["user-agent"] ?? ""
      name = String(agent.prefix { $0 != "/" }.filter { $0.isASCII && !$0.isNewline })
    }
    if name.isEmpty { name = String(context.user.name.split(separator: ":").last ?? "unknown") }
    return ManagedFields.Manager(
      name: String(decoding: name.utf8.prefix(managerBytesMax), as: UTF8.self), applies: applies,
      apiVersion: context.resource.type.apiVersion, subresource: context.info.subresource)
  }

  /// What the writes of this path may own: the status has a path of its own.
  static func ownable(_ set: FieldSet, _ context: RequestContext) -> FieldSet {
    var set = set
    if context.info.subresource == "status" {
      set.children = set.children.filter { $0.key == "f:status" || $0.key == "f:metadata" }
    } else if context.resource.hasStatus {
      set.children["f:status"] = nil
    }
    return set
  }

  /// What a write changes, field by field; nil where that cannot be told. A write is not refused for it, as Kubernetes
  /// refuses none, but somebody ought to know that an apply will see owners as they were before.
  private func difference(
    _ old: JSONValue, _ new: JSONValue, _ context: RequestContext
  ) -> ApplyShape.Difference? {
    do throws(ApplyProblem) {
      return try context.resource.applyShape(schema).difference(old, new)
    } catch {
      let name = context.info.name.isEmpty ? new.text("metadata", "name") : context.info.name
      logger.warning(
        "managed fields are left as they were: the change cannot be told field by field",
        metadata: [
          "resource": "\(context.resource.qualified)", "namespace": "\(context.namespace)", "name": "\(name)",
          "manager": "\(Self.manager(context).name)", "problem": "\(error)",
        ])
      return nil
    }
  }

  /// Sets who owns what in a new object.
  func noteCreator(_ object: inout JSONObject, _ ownership: FieldOwnership, _ context: RequestContext) {
    var managed = ManagedFields()
    let time = ObjectNames.time(context.now)
    switch ownership {
    case .settled: return
    case .applied(let manager, let fields): managed.apply(manager, fields, ApplyShape.Difference(), time: time)
    case .ofWriter:
      var plain = object
      plain[object: "metadata"]["managedFields"] = nil
      guard var difference = difference(.object([:]), .object(plain), context) else { return }
      difference.added = Self.ownable(difference.added, context)
      managed.update(Self.manager(context), difference, time: time)
    }
    object[object: "metadata"]["managedFields"] = managed.json
  }

  /// Sets who owns what in a new version of an object.
  /// - Parameter wanted: the client's document, which may change the record itself.
  func noteWriter(
    _ object: inout JSONObject, old: JSONObject, wanted: JSONObject, _ ownership: FieldOwnership,
    _ context: RequestContext
  ) {
    let given = wanted[object: "metadata"]["managedFields"]
    if case .settled = ownership {
      object[object: "metadata"]["managedFields"] = given
      return
    }
    let stored = old[object: "metadata"]["managedFields"]
    // A list of one empty entry asks to forget them all.
    if given == [[:]] {
      object[object: "metadata"]["managedFields"] = nil
      return
    }
    let asked = ManagedFields(json: given)
    var managed = asked.isEmpty ? ManagedFields(json: stored) : asked
    var (before, now) = (old, object)
    before[object: "metadata"]["managedFields"] = nil
    now[object: "metadata"]["managedFields"] = nil
    if before != now, var difference = difference(.object(before), .object(now), context) {
      difference.added = Self.ownable(difference.added, context)
      difference.modified = Self.ownable(difference.modified, context)
      managed.update(Self.manager(context), difference, time: ObjectNames.time(context.now))
    }
    object[object: "metadata"]["managedFields"] = managed.json
  }
}
