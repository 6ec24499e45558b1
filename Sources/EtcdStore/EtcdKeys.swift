internal import FoundationEssentials

/// The store's keys as etcd has them: behind a prefix.
///
/// One more key is there, the prefix with a slash, which no object has. Its value says whose keys these are. Each write of it
/// is a fence: transactions are made under the condition that it has not moved, so one that was sent before a fence happens
/// before it or not at all. And since the watch sees it, too, who waits for a fence to come by has seen all that was before.
struct EtcdKeys: Sendable {
  /// What the marker says: the form of keys and values.
  static let format = "martlet objects 1"

  let prefix: String
  let marker: Data
  /// Everything: marker and objects.
  let everything: (start: Data, end: Data)

  init(prefix: String) {
    self.prefix = prefix
    marker = Data("\(prefix)/".utf8)
    everything = (marker, Data("\(prefix)0".utf8))
  }

  func bytes(_ key: String) -> Data { Data(prefix.utf8) + Data(key.utf8) }

  /// The key of an object; nil for the marker, and for what no object of ours is called.
  func key(_ bytes: Data) -> String? {
    let rest = bytes.dropFirst(prefix.utf8.count)
    guard rest.count > 1, rest.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else { return nil }
    return String(decoding: rest, as: UTF8.self)
  }

  /// The keys of objects that begin with `start` and come after `after`.
  func range(of start: String, after: String? = nil) -> (start: Data, end: Data) {
    var end = Array(start.utf8)
    let last: Data
    if start.isEmpty || start == "/" {
      last = everything.end
    } else {
      end[end.count - 1] += 1
      last = Data(prefix.utf8) + Data(end)
    }
    if let after, after >= start { return (bytes(after) + [0], last) }
    return (start.isEmpty || start == "/" ? marker + [0] : bytes(start), last)
  }
}
