"""The hosts of Fewstroke, each thin: the command line, and in time Blender, Nuke and the browser studio."""
