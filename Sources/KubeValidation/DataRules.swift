import JSON
import KubeModel

/// ConfigMaps, Secrets and events.
extension FieldErrors {
  /// All values of a ConfigMap or a Secret together.
  static let dataBytesMax = 1 << 20

  mutating func configMap(_ map: ConfigMap) {
    metadata(map.metadata, .bySubdomain)
    var bytes = 0
    for (key, value) in map.data.sorted(by: { $0.key < $1.key }) {
      invalid(FieldPath("data").key(key), key, NameRules.configKey(key))
      if map.binaryData[key] != nil {
        invalid(FieldPath("data").key(key), key, "duplicate of key present in binaryData")
      }
      bytes += value.utf8.count
    }
    for (key, value) in map.binaryData.sorted(by: { $0.key < $1.key }) {
      invalid(FieldPath("binaryData").key(key), key, NameRules.configKey(key))
      bytes += value.bytes.count
    }
    // The brackets stand for the whole object.
    if bytes > Self.dataBytesMax { tooLong(FieldPath("[]"), Self.dataBytesMax) }
  }

  mutating func updateConfigMap(_ new: ConfigMap, _ old: ConfigMap) {
    metadataUpdate(new.metadata, old.metadata)
    if old.immutable == true {
      if new.immutable != true { sealed("immutable") }
      if new.data != old.data { sealed("data") }
      if new.binaryData != old.binaryData { sealed("binaryData") }
    }
    configMap(new)
  }

  private mutating func sealed(_ field: String) {
    forbidden(FieldPath(field), "field is immutable when `immutable` is set")
  }

  mutating func secret(_ secret: Secret) {
    metadata(secret.metadata, .bySubdomain)
    let path = FieldPath("data")
    var bytes = 0
    for (key, value) in secret.data.sorted(by: { $0.key < $1.key }) {
      invalid(path.key(key), key, NameRules.configKey(key))
      bytes += value.bytes.count
    }
    if bytes > Self.dataBytesMax { tooLong(path, Self.dataBytesMax) }
    switch secret.type ?? "" {
    case "kubernetes.io/service-account-token":
      let key = "kubernetes.io/service-account.name"
      if (secret.metadata.annotations[key] ?? "").isEmpty { required(FieldPath("metadata")["annotations"].key(key)) }
    case "kubernetes.io/dockercfg": registryConfig(secret, ".dockercfg")
    case "kubernetes.io/dockerconfigjson": registryConfig(secret, ".dockerconfigjson")
    case "kubernetes.io/basic-auth":
      if secret.data["username"] == nil, secret.data["password"] == nil {
        required(path.key("username"))
        required(path.key("password"))
      }
    case "kubernetes.io/ssh-auth":
      if secret.data["ssh-privatekey"]?.bytes.isEmpty != false { required(path.key("ssh-privatekey")) }
    case "kubernetes.io/tls":
      if secret.data["tls.crt"] == nil { required(path.key("tls.crt")) }
      if secret.data["tls.key"] == nil { required(path.key("tls.key")) }
    default: break
    }
  }

  private mutating func registryConfig(_ secret: Secret, _ key: String) {
    let path = FieldPath("data").key(key)
    guard let content = secret.data[key] else { return required(path) }
    do throws(JSONError) {
      // The content is a secret: what is wrong is told by its place alone.
      guard try JSONValue.parse(content.bytes).object != nil else {
        return invalid(path, "<secret contents redacted>", "must be a JSON object")
      }
    } catch {
      invalid(path, "<secret contents redacted>", error.problem)
    }
  }

  mutating func updateSecret(_ new: Secret, _ old: Secret) {
    metadataUpdate(new.metadata, old.metadata)
    immutable(FieldPath("type"), new.type, old.type)
    if old.immutable == true {
      if new.immutable != true { sealed("immutable") }
      if new.data != old.data { sealed("data") }
    }
    secret(new)
  }

  // MARK: events

  private static let wordCharactersMax = 128
  private static let noteCharactersMax = 1024

  /// Events are checked little, so that old clients can still write theirs.
  mutating func event(_ event: Event) {
    let namespace = event.metadata.namespace ?? ""
    let about = event.involvedObject.namespace ?? ""
    let path = FieldPath("involvedObject")["namespace"]
    if event.eventTime == nil {
      let matches = about.isEmpty ? ["", "default"].contains(namespace) : about == namespace
      if !matches { invalid(path, about, "does not match event.namespace") }
    } else {
      if about.isEmpty, !["default", "kube-system"].contains(namespace) {
        invalid(path, about, "does not match event.namespace")
      }
      word("reportingController", event.reportingComponent, most: nil)
      word("reportingInstance", event.reportingInstance, most: Self.wordCharactersMax)
      word("action", event.action, most: Self.wordCharactersMax)
      word("reason", event.reason, most: Self.wordCharactersMax)
      if event.message?.utf8.count ?? 0 > Self.noteCharactersMax {
        invalid(FieldPath("message"), "", "can have at most \(Self.noteCharactersMax) characters")
      }
    }
    if !namespace.isEmpty { dnsSubdomain(FieldPath("namespace"), namespace) }
  }

  private mutating func word(_ field: String, _ value: String?, most: Int?) {
    let value = value ?? ""
    if value.isEmpty { return required(FieldPath(field)) }
    if let most {
      if value.utf8.count > most { invalid(FieldPath(field), "", "can have at most \(most) characters") }
    } else {
      qualifiedName(FieldPath(field), value)
    }
  }
}
