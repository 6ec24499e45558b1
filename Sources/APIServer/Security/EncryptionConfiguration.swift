import JSON
import Kernel
import KubeModel
package import ObjectStore
import PKI
import YAML

/// Which resources are encrypted on the disk, and by which keys: `apiserver.config.k8s.io/v1` EncryptionConfiguration with
/// the providers `aesgcm` and `identity`.
///
/// https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/
package struct EncryptionConfiguration: Sendable {
  private struct Entry: Sendable {
    /// Folders of the store: `/secrets/`; `/` for all.
    var folders: [String]
    /// Nil: written as they are.
    var seals: Bool
    var opensPlain: Bool
    var sealer: ValueSealer
  }

  private static let keysMax = 16

  private var entries: [Entry] = []
  /// Every key of the file: what is no longer to be encrypted is still read.
  private let all: ValueSealer

  /// Reads the file. Blocks on the disk.
  package init(file: String) throws(SecurityFileError) {
    let document = try SecurityFile.read(
      file, apiVersion: "apiserver.config.k8s.io/v1", kind: "EncryptionConfiguration")
    guard let list = document["resources"]?.array, !list.isEmpty else {
      throw SecurityFileError(file: file, reason: "resources: at least one entry is needed")
    }
    var keys: [(name: String, bytes: [UInt8])] = []
    for (index, value) in list.enumerated() {
      let (entry, own) = try Self.entry(value, "resources[\(index)]", file)
      entries.append(entry)
      for key in own where !keys.contains(where: { $0.name == key.name && $0.bytes == key.bytes }) { keys.append(key) }
    }
    do throws(PKIError) {
      all = try ValueSealer(keys)
    } catch {
      throw SecurityFileError(file: file, reason: "\(error)")
    }
  }

  private static func entry(
    _ value: JSONValue, _ path: String, _ file: String
  ) throws(SecurityFileError) -> (Entry, [(name: String, bytes: [UInt8])]) {
    func fail(_ reason: String) -> SecurityFileError { SecurityFileError(file: file, reason: "\(path): \(reason)") }
    let names = (value["resources"]?.array ?? []).compactMap(\.string)
    guard !names.isEmpty else { throw fail("resources: at least one is needed, such as secrets") }
    var folders: [String] = []
    for name in names {
      if name == "*.*" {
        folders.append("/")
      } else if name.contains("*") || name.contains("/") {
        throw fail("resources: \"\(name)\": only *.* is a pattern here")
      } else {
        folders.append("/\(name)/")
      }
    }
    var keys: [(name: String, bytes: [UInt8])] = []
    var kinds: [String] = []
    for provider in value["providers"]?.array ?? [] {
      for (kind, settings) in provider.object?.members ?? [] {
        switch kind {
        case "identity": kinds.append(kind)
        case "aesgcm":
          kinds.append(kind)
          for key in settings["keys"]?.array ?? [] {
            guard let bytes = Base64Bytes.decoded(key.text("secret")) else {
              throw fail("key \"\(key.text("name"))\": its secret is not base64")
            }
            keys.append((key.text("name"), bytes))
          }
        default: throw fail("provider \(kind): aesgcm and identity are there")
        }
      }
    }
    guard !kinds.isEmpty else { throw fail("providers: at least one is needed") }
    guard keys.count <= keysMax else { throw fail("more than \(keysMax) keys") }
    guard !kinds.contains("aesgcm") || !keys.isEmpty else { throw fail("aesgcm: at least one key is needed") }
    let sealer: ValueSealer
    do throws(PKIError) {
      sealer = try ValueSealer(keys)
    } catch {
      throw fail("\(error)")
    }
    return (
      Entry(folders: folders, seals: kinds[0] == "aesgcm", opensPlain: kinds.contains("identity"), sealer: sealer), keys
    )
  }

  private func entry(for key: String) -> Entry? {
    entries.first { $0.folders.contains { $0 == "/" || key.hasPrefix($0) } }
  }

  /// For the store.
  package var sealing: StoreSealing {
    StoreSealing(
      seal: { key, value in
        guard let entry = entry(for: key), entry.seals else { return value }
        return entry.sealer.seal(value, of: key)
      },
      open: { key, value in
        if ValueSealer.isSealed(value) {
          return entry(for: key)?.sealer.open(value, of: key) ?? all.open(value, of: key)
        }
        return entry(for: key)?.opensPlain ?? true ? value : nil
      })
  }

  /// For a store without keys: what is encrypted is not taken for an object.
  package static let withoutKeys = StoreSealing(
    erases: false, seal: { $1 }, open: { ValueSealer.isSealed($1) ? nil : $1 })

  /// The folders whose objects are written anew when keys change.
  package var folders: [String] { entries.flatMap(\.folders) }

  /// A file with a key of its own for Secrets, made where there is none: for those who want encryption and no file.
  /// Blocks on the disk.
  package static func makeFile(_ file: String) throws(SecurityFileError) {
    guard !Files.exists(file) else { return }
    let document: JSONValue = [
      "apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
      "resources": [
        [
          "resources": ["secrets"],
          "providers": [
            ["aesgcm": ["keys": [["name": "key1", "secret": .string(Base64.standard(randomBytes(32)))]]]],
            ["identity": [:]],
          ],
        ]
      ],
    ]
    do throws(SyscallError) {
      try Files.writeAtomically(file, Array(YAML.encoded(document).utf8), mode: 0o600, durable: true)
    } catch {
      throw SecurityFileError(file: file, reason: "\(error)")
    }
  }
}

extension APIServer {
  /// Objects of one transaction when everything is written anew.
  private static let rewritePage = 100
  /// Times that a page is tried that others change meanwhile.
  private static let rewriteAttemptsMax = 10

  /// Writes all objects of some folders anew, so that the key that counts now encrypts them, and forgets the past on the
  /// disk. - Returns: how many.
  package func rewrite(folders: [String]) async throws(StoreError) -> Int {
    var count = 0
    for folder in folders {
      var after: String?
      var attempts = 0
      while true {
        let page = store.list(prefix: folder, after: after, limit: Self.rewritePage).objects
        guard let last = page.last else { break }
        var transaction = Transaction()
        for object in page {
          transaction.checks[object.key] = object.revision
          transaction.puts.append((object.key, object.value))
        }
        do throws(StoreError) {
          _ = try await store.commit(transaction)
          count += page.count
          after = last.key
          attempts = 0
        } catch {
          attempts += 1
          guard case .conflict = error, attempts < Self.rewriteAttemptsMax else { throw error }
        }
      }
    }
    try await store.compact(keeping: 0)
    return count
  }
}
