package import JSON
internal import OCISpec

/// What is written of a container when it is created. The request itself lies beside it, in `request.json`.
package struct ContainerRecord: Hashable, Sendable {
  package static let version: Int64 = 1

  package var id: String
  package var sandboxID: String
  /// Nanoseconds since 1970.
  package var createdAt: Int64
  package var config: ContainerConfig

  package init(id: String, sandboxID: String, createdAt: Int64, config: ContainerConfig) {
    self.id = id
    self.sandboxID = sandboxID
    self.createdAt = createdAt
    self.config = config
  }

  package var json: JSONValue {
    [
      "version": .integer(Self.version), "id": .string(id), "sandboxID": .string(sandboxID),
      "createdAt": .integer(createdAt), "config": config.json,
    ]
  }

  package init(_ value: JSONValue, path: String) throws(RecordError) {
    let reader = try RecordReader(value, path: path)
    let version = try reader.integer("version")
    guard version == Self.version else {
      throw RecordError(path: path, problem: "has version \(version), this daemon reads \(Self.version)")
    }
    id = try reader.string("id")
    sandboxID = try reader.string("sandboxID")
    createdAt = try reader.integer("createdAt")
    config = try ContainerConfig(reader.object("config"))
  }
}

/// What became of the container since; written when it starts and when it ends.
package struct ContainerState: Hashable, Sendable {
  /// Nanoseconds since 1970; 0 where it never ran.
  package var startedAt: Int64
  /// 0 where it never ran.
  package var pid: Int32
  /// nil while it runs.
  package var exit: ContainerExit?

  package init(startedAt: Int64, pid: Int32, exit: ContainerExit? = nil) {
    self.startedAt = startedAt
    self.pid = pid
    self.exit = exit
  }

  package var json: JSONValue {
    var object: JSONObject = ["startedAt": .integer(startedAt), "pid": .integer(Int64(pid))]
    object["exit"] = exit.map {
      [
        "code": .integer(Int64($0.code)), "finishedAt": .integer($0.finishedAt), "reason": .string($0.reason),
        "message": .string($0.message),
      ]
    }
    return .object(object)
  }

  package init(_ value: JSONValue, path: String) throws(RecordError) {
    let reader = try RecordReader(value, path: path)
    startedAt = try reader.integer("startedAt")
    pid = try reader.unsigned("pid")
    if let exit = try reader.optionalObject("exit") {
      self.exit = ContainerExit(
        code: try exit.unsigned("code"), finishedAt: try exit.integer("finishedAt"),
        reason: try exit.string("reason"), message: try exit.string("message"))
    }
  }
}

extension ContainerConfig {
  var json: JSONValue {
    [
      "name": .string(name), "attempt": .integer(Int64(attempt)), "image": .string(image),
      "userSpecifiedImage": .string(userSpecifiedImage), "imageID": .string(imageID), "labels": JSONValue(labels),
      "annotations": JSONValue(annotations), "mounts": .array(mounts.map(\.json)), "logPath": .string(logPath),
      "stdin": .bool(stdin), "stdinOnce": .bool(stdinOnce), "terminal": .bool(terminal), "resources": resources.json,
      "stopSignal": .integer(Int64(stopSignal)), "uid": .integer(Int64(user.uid)), "gid": .integer(Int64(user.gid)),
      "groups": .array(user.additionalGroups.map { .integer(Int64($0)) }),
    ]
  }

  init(_ reader: RecordReader) throws(RecordError) {
    self.init(name: try reader.string("name"), attempt: try reader.unsigned("attempt"))
    image = try reader.string("image")
    userSpecifiedImage = try reader.string("userSpecifiedImage")
    imageID = try reader.string("imageID")
    labels = try reader.map("labels")
    annotations = try reader.map("annotations")
    for mount in try reader.objects("mounts") { mounts.append(try MountNote(mount)) }
    logPath = try reader.string("logPath")
    stdin = try reader.bool("stdin")
    stdinOnce = try reader.bool("stdinOnce")
    terminal = try reader.bool("terminal")
    resources = try LinuxResources(reader.object("resources"))
    stopSignal = try reader.unsigned("stopSignal")
    let groups = (try reader.value("groups").array ?? []).compactMap { $0.integer.flatMap { UInt32(exactly: $0) } }
    user = RuntimeSpec.User(
      uid: try reader.unsigned("uid"), gid: try reader.unsigned("gid"), additionalGroups: groups)
  }
}

extension MountNote {
  var json: JSONValue {
    var object: JSONObject = [
      "containerPath": .string(containerPath), "hostPath": .string(hostPath), "isReadOnly": .bool(isReadOnly),
      "isRecursivelyReadOnly": .bool(isRecursivelyReadOnly), "propagation": .string(propagation),
    ]
    if !imageID.isEmpty {
      object["image"] = .string(image)
      object["imageID"] = .string(imageID)
      object["imageSubPath"] = .string(imageSubPath)
    }
    return .object(object)
  }

  init(_ reader: RecordReader) throws(RecordError) {
    self.init(
      containerPath: try reader.string("containerPath"), hostPath: try reader.string("hostPath"),
      isReadOnly: try reader.bool("isReadOnly"), isRecursivelyReadOnly: try reader.bool("isRecursivelyReadOnly"),
      propagation: try reader.string("propagation"))
    image = try reader.optionalString("image") ?? ""
    imageID = try reader.optionalString("imageID") ?? ""
    imageSubPath = try reader.optionalString("imageSubPath") ?? ""
  }
}
