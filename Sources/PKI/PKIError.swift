/// Why there are no certificates to work with.
package enum PKIError: Error, Hashable, CustomStringConvertible {
  /// A file that is there cannot be what it must be. It is never overwritten: somebody may want it back.
  case damaged(file: String, reason: String)
  case expired(file: String)
  case disk(reason: String)
  case issue(name: String, reason: String)
  /// Somebody's request for a certificate cannot be judged.
  case request(reason: String)

  package var description: String {
    switch self {
    case .damaged(let file, let reason):
      "\(file): \(reason); put back what was there, or remove the file to have a new one made"
    case .expired(let file):
      "\(file) has expired; remove the directory to start with a new authority, and give out new kubeconfigs"
    case .disk(let reason): reason
    case .request(let reason): "certificate request: \(reason)"
    case .issue(let name, let reason): "certificate of \(name): \(reason)"
    }
  }
}
