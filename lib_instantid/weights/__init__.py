"""Weight files: finds, downloads, recognises and reads them safely, and stores ControlNets' weights in less memory."""
