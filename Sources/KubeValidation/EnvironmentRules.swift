import JSON
import KubeModel

/// Environment variables, what they are taken from, and what is mounted.
extension FieldErrors {
  mutating func environment(_ variables: [EnvVar], _ path: FieldPath) {
    for (index, variable) in variables.enumerated() {
      let at = path[index]
      if variable.name.isEmpty {
        required(at["name"])
      } else {
        invalid(at["name"], variable.name, NameRules.environmentName(variable.name))
      }
      if let source = variable.valueFrom { valueFrom(source, value: variable.value ?? "", at["valueFrom"]) }
    }
  }

  private mutating func valueFrom(_ source: EnvVarSource, value: String, _ path: FieldPath) {
    var sources = 0
    if let field = source.fieldRef {
      sources += 1
      fieldReference(field, of: Self.environmentFields, path["fieldRef"])
    }
    if let resource = source.resourceFieldRef {
      sources += 1
      resourceReference(resource, needsContainer: false, path["resourceFieldRef"])
    }
    if let reference = source.configMapKeyRef {
      sources += 1
      keyReference(name: reference.name, key: reference.key, path["configMapKeyRef"])
    }
    if let reference = source.secretKeyRef {
      sources += 1
      keyReference(name: reference.name, key: reference.key, path["secretKeyRef"])
    }
    if let file = source.fileKeyRef {
      sources += 1
      let at = path["fileKeyRef"]
      if file.volumeName.isEmpty { required(at["volumeName"]) }
      if file.path.isEmpty { required(at["path"]) } else { descendingPath(at["path"], file.path) }
      if file.key.isEmpty { required(at["key"]) }
    }
    if sources == 0 {
      invalid(
        path, "",
        "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
      )
    } else if !value.isEmpty {
      invalid(path, "", "may not be specified when `value` is not empty")
    } else if sources > 1 {
      invalid(path, "", "may not have more than one field specified at a time")
    }
  }

  mutating func environmentSources(_ sources: [EnvFromSource], _ path: FieldPath) {
    for (index, source) in sources.enumerated() {
      let at = path[index]
      if let prefix = source.prefix, !prefix.isEmpty {
        invalid(at["prefix"], prefix, NameRules.environmentName(prefix))
      }
      if let reference = source.configMapRef { objectReference(reference.name, at["configMapRef"]["name"]) }
      if let reference = source.secretRef { objectReference(reference.name, at["secretRef"]["name"]) }
      switch (source.configMapRef, source.secretRef) {
      case (nil, nil): invalid(path, "", "must specify one of: `configMapRef` or `secretRef`")
      case (.some, .some): invalid(path, "", "may not have more than one field specified at a time")
      default: break
      }
    }
  }

  private mutating func objectReference(_ name: String?, _ path: FieldPath) {
    guard let name, !name.isEmpty else { return required(path) }
    invalid(path, name, NameRules.asPrefix(name, NameRules.dnsSubdomain))
  }

  private mutating func keyReference(name: String?, key: String, _ path: FieldPath) {
    dnsSubdomain(path["name"], name ?? "")
    if key.isEmpty { required(path["key"]) } else { invalid(path["key"], key, NameRules.configKey(key)) }
  }

  // MARK: the pod's own fields

  private static let environmentFields = [
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
  ]
  static let volumeFields = [
    "metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid",
  ]
  private static let knownFields = Set(environmentFields + volumeFields)

  mutating func fieldReference(_ reference: ObjectFieldSelector, of supported: [String], _ path: FieldPath) {
    let version = reference.apiVersion ?? "v1"
    let field = reference.fieldPath
    if field.isEmpty { return required(path["fieldPath"]) }
    if version != "v1" {
      return invalid(
        path["fieldPath"], field, "error converting fieldPath: unsupported pod version: \(version)")
    }
    if let bracket = field.firstIndex(of: "["), field.hasSuffix("']"), field[bracket...].hasPrefix("['") {
      let key = String(field[field.index(bracket, offsetBy: 2)...].dropLast(2))
      switch field[..<bracket] {
      case "metadata.annotations": qualifiedName(path, key.lowercased())
      case "metadata.labels": qualifiedName(path, key)
      default: invalid(path, String(field[..<bracket]), "does not support subscript")
      }
    } else if !Self.knownFields.contains(field) {
      invalid(path["fieldPath"], field, "error converting fieldPath: field label not supported: \(field)")
    } else if !supported.contains(field) {
      notSupported(path["fieldPath"], field, supported)
    }
  }

  private static let resourceFields = [
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage",
    "requests.memory",
  ]
  private static let byteDivisors = ["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"]

  mutating func resourceReference(_ reference: ResourceFieldSelector, needsContainer: Bool, _ path: FieldPath) {
    let resource = reference.resource
    let isHugePages = resource.hasPrefix("limits.hugepages-") || resource.hasPrefix("requests.hugepages-")
    if needsContainer, (reference.containerName ?? "").isEmpty {
      required(path["containerName"])
    } else if resource.isEmpty {
      required(path["resource"])
    } else if !isHugePages, !Self.resourceFields.contains(resource) {
      notSupported(path["resource"], resource, Self.resourceFields)
    }
    guard let divisor = reference.divisor, divisor.milliValue != 0 else { return }
    if resource.hasSuffix(".cpu") {
      if divisor != Quantity("1") && divisor != Quantity("1m") {
        invalid(path["divisor"], resource, "only divisor's values 1m and 1 are supported with the cpu resource")
      }
    } else if !Self.byteDivisors.contains(where: { Quantity($0) == divisor }) {
      let kind = isHugePages ? "hugepages" : resource.hasSuffix(".memory") ? "memory" : "local ephemeral storage"
      invalid(
        path["divisor"], resource,
        "only divisor's values \(Self.byteDivisors.joined(separator: ", ")) are supported with the \(kind) resource")
    }
  }

  // MARK: mounts

  mutating func mounts(_ container: Container, _ context: PodContext, _ path: FieldPath) {
    var places: Set<String> = []
    for (index, mount) in container.volumeMounts.enumerated() {
      let at = path[index]
      if mount.name.isEmpty { required(at["name"]) }
      if context.volumes[mount.name] == nil { notFound(at["name"], mount.name) }
      if mount.mountPath.isEmpty { required(at["mountPath"]) }
      if !places.insert(mount.mountPath).inserted { invalid(at["mountPath"], mount.mountPath, "must be unique") }
      if container.volumeDevices.contains(where: { $0.name == mount.name }) {
        invalid(at["name"], mount.name, "must not already exist in volumeDevices")
      }
      if container.volumeDevices.contains(where: { $0.devicePath == mount.mountPath }) {
        invalid(at["mountPath"], mount.mountPath, "must not already exist as a path in volumeDevices")
      }
      let (below, expression) = (mount.subPath ?? "", mount.subPathExpr ?? "")
      if !below.isEmpty { descendingPath(path["subPath"], below) }
      if !expression.isEmpty {
        if !below.isEmpty {
          invalid(at["subPathExpr"], expression, "subPathExpr and subPath are mutually exclusive")
        }
        descendingPath(path["subPathExpr"], expression)
      }
      if let propagation = mount.mountPropagation {
        choice(path["mountPropagation"], propagation, of: ["Bidirectional", "HostToContainer", "None"])
        if propagation == "Bidirectional", container.securityContext?.privileged != true {
          forbidden(
            path["mountPropagation"], "Bidirectional mount propagation is available only to privileged containers")
        }
      }
      recursiveReadOnly(mount, path["recursiveReadOnly"])
    }
  }

  private mutating func recursiveReadOnly(_ mount: VolumeMount, _ path: FieldPath) {
    guard let mode = mount.recursiveReadOnly else { return }
    choice(path, mode, of: ["Disabled", "Enabled", "IfPossible"])
    guard mode == "Enabled" || mode == "IfPossible" else { return }
    if mount.readOnly != true { forbidden(path, "may only be specified when readOnly is true") }
    if let propagation = mount.mountPropagation, propagation != "None" {
      forbidden(path, "may only be specified when mountPropagation is None or not specified")
    }
  }

  mutating func devices(_ container: Container, _ context: PodContext, _ path: FieldPath) {
    var (names, places): (Set<String>, Set<String>) = ([], [])
    for (index, device) in container.volumeDevices.enumerated() {
      let at = path[index]
      if device.name.isEmpty { required(at["name"]) }
      if !names.insert(device.name).inserted { invalid(at["name"], device.name, "must be unique") }
      if let volume = context.volumes[device.name] {
        if volume.persistentVolumeClaim == nil, volume.ephemeral == nil {
          invalid(
            at["name"], device.name,
            "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode")
        }
      } else {
        notFound(at["name"], device.name)
      }
      if device.devicePath.isEmpty { required(at["devicePath"]) }
      if !places.insert(device.devicePath).inserted { invalid(at["devicePath"], device.devicePath, "must be unique") }
      if hasBacksteps(device.devicePath) {
        invalid(at["devicePath"], device.devicePath, "can not contain backsteps ('..')")
      }
      if container.volumeMounts.contains(where: { $0.name == device.name }) {
        invalid(at["name"], device.name, "must not already exist in volumeMounts")
      }
      if container.volumeMounts.contains(where: { $0.mountPath == device.devicePath }) {
        invalid(at["devicePath"], device.devicePath, "must not already exist as a path in volumeMounts")
      }
    }
  }

  // MARK: paths

  func hasBacksteps(_ path: String) -> Bool { path.split(separator: "/").contains("..") }

  /// A relative path that stays below where it starts.
  mutating func descendingPath(_ path: FieldPath, _ value: String) {
    if value.hasPrefix("/") { invalid(path, value, "must be a relative path") }
    if hasBacksteps(value) { invalid(path, value, "must not contain '..'") }
  }

  /// A relative path for files that are made: names that begin with two dots are the writer's own.
  mutating func unreservedPath(_ path: FieldPath, _ value: String) {
    descendingPath(path, value)
    if value.hasPrefix(".."), !value.hasPrefix("../") { invalid(path, value, "must not start with '..'") }
  }
}
